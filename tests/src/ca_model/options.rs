//! The model's settings, named after the flags they stand for.

use std::time::Duration;

use proto_autoscaler::NodeGroupAutoscalingOptions;

/// The interval of the real program, which no flag changes.
pub const INSTANCE_REFRESH: Duration = Duration::from_secs(120);

/// Settings; the default is what suits tests, not what the real program starts with.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `--scan-interval`.
    pub scan_interval: Duration,
    /// `grpc_timeout` of the cloud configuration.
    pub grpc_timeout: Duration,
    /// `--scale-down-unneeded-time`.
    pub unneeded_time: Duration,
    /// `--scale-down-unready-time`.
    pub unready_time: Duration,
    /// `--scale-down-delay-after-add`.
    pub delay_after_add: Duration,
    /// `--scale-down-delay-after-delete`.
    pub delay_after_delete: Duration,
    /// `--scale-down-delay-after-failure`: after a Node could not be tainted.
    pub delay_after_failure: Duration,
    /// `--unremovable-node-recheck-timeout`.
    pub unremovable_recheck: Duration,
    /// `--node-delete-delay-after-taint`.
    pub delete_delay: Duration,
    /// `--scale-down-utilization-threshold`.
    pub utilisation_threshold: f64,
    /// `--max-node-provision-time`.
    pub provision_time: Duration,
    /// `--max-node-startup-time`.
    pub startup_time: Duration,
    /// `--initial-node-group-backoff-duration`.
    pub backoff_initial: Duration,
    /// `--max-node-group-backoff-duration`.
    pub backoff_max: Duration,
    /// `--node-group-backoff-reset-timeout`.
    pub backoff_reset: Duration,
    /// `--ok-total-unready-count`.
    pub ok_unready: usize,
    /// `--max-total-unready-percentage`.
    pub max_unready_percent: usize,
    /// `--max-pod-eviction-time`: how long it is tried to evict Pods.
    pub eviction_time: Duration,
    /// `--max-graceful-termination-sec`: how long evicted Pods may take to end.
    pub graceful_termination: Duration,
    /// For how much longer they are waited for; half a minute in the real program.
    pub eviction_headroom: Duration,
    /// How often all lists of instances are made anew; the real program's interval is fixed.
    pub instance_refresh: Duration,
    /// How long a Node must be Ready to serve as a template; one minute in the real program.
    pub template_stability: Duration,
    /// How long a Node stays out of consideration after its removal began; five minutes in the real program.
    pub deletion_window: Duration,
    /// What is left to chance falls the same way for the same seed.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scan_interval: Duration::from_secs(1),
            grpc_timeout: Duration::from_secs(5),
            unneeded_time: Duration::from_secs(5),
            unready_time: Duration::from_secs(10),
            delay_after_add: Duration::from_secs(2),
            delay_after_delete: Duration::ZERO,
            delay_after_failure: Duration::from_secs(2),
            unremovable_recheck: Duration::from_secs(1),
            delete_delay: Duration::ZERO,
            utilisation_threshold: 0.5,
            provision_time: Duration::from_secs(30),
            startup_time: Duration::from_secs(30),
            backoff_initial: Duration::from_secs(3),
            backoff_max: Duration::from_secs(6),
            backoff_reset: Duration::from_secs(30),
            ok_unready: 3,
            max_unready_percent: 45,
            eviction_time: Duration::from_secs(5),
            graceful_termination: Duration::from_secs(2),
            eviction_headroom: Duration::from_secs(30),
            instance_refresh: INSTANCE_REFRESH,
            template_stability: Duration::from_secs(60),
            deletion_window: Duration::from_secs(300),
            seed: 0,
        }
    }
}

/// The settings of one group: the defaults, or what the provider answered in their place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupOptions {
    pub(super) utilisation_threshold: f64,
    pub(super) unneeded_time: Duration,
    pub(super) unready_time: Duration,
    pub(super) provision_time: Duration,
    pub(super) startup_time: Duration,
}

impl Options {
    /// The defaults as the autoscaler sends them along.
    pub(super) fn as_message(&self) -> NodeGroupAutoscalingOptions {
        NodeGroupAutoscalingOptions {
            scale_down_utilization_threshold: self.utilisation_threshold,
            scale_down_gpu_utilization_threshold: self.utilisation_threshold,
            zero_or_max_node_scaling: false,
            ignore_daemon_sets_utilization: false,
            scale_down_unneeded_duration: self.unneeded_time.try_into().ok(),
            scale_down_unready_duration: self.unready_time.try_into().ok(),
            max_node_provision_duration: self.provision_time.try_into().ok(),
            ..NodeGroupAutoscalingOptions::default()
        }
    }

    /// The options of a group. An answer replaces every default, also by nothing: a missing duration is zero, and the start-up
    /// time has no field at all.
    pub(super) fn of_group(&self, answer: Option<&NodeGroupAutoscalingOptions>) -> GroupOptions {
        let Some(answer) = answer else {
            return GroupOptions {
                utilisation_threshold: self.utilisation_threshold,
                unneeded_time: self.unneeded_time,
                unready_time: self.unready_time,
                provision_time: self.provision_time,
                startup_time: self.startup_time,
            };
        };
        let time = |duration: Option<prost_types::Duration>| {
            duration
                .and_then(|duration| duration.try_into().ok())
                .unwrap_or_default()
        };
        GroupOptions {
            utilisation_threshold: answer.scale_down_utilization_threshold,
            unneeded_time: time(answer.scale_down_unneeded_duration),
            unready_time: time(answer.scale_down_unready_duration),
            provision_time: time(answer.max_node_provision_duration),
            startup_time: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_answer_the_defaults_hold() {
        let options = Options::default();
        let group = options.of_group(None);
        assert_eq!(group.startup_time, options.startup_time);
        assert_eq!(group.provision_time, options.provision_time);
    }

    #[test]
    fn answer_replaces_every_default() {
        let options = Options::default();
        let mut answer = options.as_message();
        answer.max_node_provision_duration = None;
        let group = options.of_group(Some(&answer));
        assert_eq!(group.unneeded_time, options.unneeded_time);
        assert_eq!(group.provision_time, Duration::ZERO);
        assert_eq!(group.startup_time, Duration::ZERO);
    }
}
