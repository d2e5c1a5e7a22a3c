//! The model's scale-up: which group would hold the waiting Pods best, and one increase of it.
//! Holds: one group for each loop; the delta never exceeds what is left up to the group's maximum; groups that are equally good are
//! chosen among by the dice.

use std::sync::Arc;

use tonic::Status;

use super::{
    CaModel, Cluster, Event, PodSeen,
    caches::KnownGroup,
    rooms::{fitting, pack, waste},
    scan::Scan,
};

/// One way to enlarge one group.
#[derive(Debug, Clone)]
struct Expansion {
    group: Arc<KnownGroup>,
    machines: i32,
    waste: f64,
}

impl<C: Cluster> CaModel<C> {
    /// Returns whether a group was enlarged.
    pub(super) async fn scale_up(&mut self, scan: &Scan, waiting: &[PodSeen]) -> bool {
        if waiting.is_empty() {
            return false;
        }
        if let Err(status) = self.add_up_resources(scan).await {
            return self.dropped(&status);
        }
        let mut options = Vec::new();
        for group in self.groups_that_may_grow(scan.now_ms).await {
            options.extend(self.expansion(group, waiting).await);
        }
        let Some(best) = self.best(options) else {
            return false;
        };
        let id = best.group.id.clone();
        let target = match self.caches.provider.target_size(&id).await {
            Ok(target) => target,
            Err(status) => return self.dropped(&status),
        };
        let delta = best.machines.min(best.group.max - target);
        if delta <= 0 {
            return false;
        }
        self.caches.gpu_types().await;
        if let Err(status) = self.caches.provider.increase(&id, delta).await {
            self.failed_to_grow(&id, scan.now_ms).await;
            let why = status.to_string();
            self.events
                .push(Event::FailedToScaleUpGroup { group: id, why });
            return false;
        }
        // Without its options the request is not noted.
        if let Ok(options) = self.options_of(&id).await {
            let expected = (scan.now_ms, options.provision_time);
            self.state.requested(&id, delta, expected);
        }
        self.events.push(Event::ScaledUp { group: id, delta });
        self.recalculate().await;
        true
    }

    fn dropped(&self, status: &Status) -> bool {
        let why = status.to_string();
        self.events.push(Event::ScaleUpDropped { why });
        false
    }

    /// The groups that are healthy, not left alone, below their maximum, and known well enough.
    async fn groups_that_may_grow(&self, now_ms: u64) -> Vec<Arc<KnownGroup>> {
        let mut valid = Vec::new();
        for group in self.caches.groups().await {
            let is_safe = self.state.group_is_healthy(&group.id, &self.options)
                && !self.state.backs_off(&group.id, now_ms);
            if !is_safe {
                continue;
            }
            let Ok(target) = self.caches.provider.target_size(&group.id).await else {
                continue;
            };
            if target >= group.max {
                continue;
            }
            let _no_group_is_all_or_nothing = self.options_of(&group.id).await;
            if self.templates.contains_key(&group.id) {
                valid.push(group);
            }
        }
        valid
    }

    async fn expansion(&self, group: Arc<KnownGroup>, waiting: &[PodSeen]) -> Option<Expansion> {
        let template = self.templates.get(&group.id)?;
        let pods = fitting(template, waiting);
        if pods.is_empty() {
            return None;
        }
        let target = self.caches.provider.target_size(&group.id).await;
        let left = target.map_or(0, |target| group.max - target);
        let (machines, used) = pack(template, pods, left);
        let _no_group_is_all_or_nothing = self.options_of(&group.id).await;
        (machines > 0).then(|| Expansion {
            waste: waste(template, machines, &used),
            group,
            machines,
        })
    }

    /// The one that wastes least; any of those that waste equally little.
    fn best(&mut self, mut options: Vec<Expansion>) -> Option<Expansion> {
        let wastes = options.iter().map(|option| option.waste);
        let least = wastes.min_by(f64::total_cmp)?;
        options.retain(|option| option.waste.total_cmp(&least).is_eq());
        let chosen = self.dice.below(options.len());
        Some(options.swap_remove(chosen))
    }
}
