//! What a loop puts right before it thinks of Pods: instances that never joined, machines that cannot be created, wrong targets.
//! Holds: instances that never joined go only down to the minimum, failed ones regardless of it, in every loop until they are gone.

use std::collections::BTreeMap;

use super::{
    CaModel, Cluster, Event,
    caches::{FakeReason, fake_node},
    scan::{Abort, Timers},
    state::passed,
};

impl<C: Cluster> CaModel<C> {
    pub(super) async fn remove_long_unregistered(&mut self, now_ms: u64) {
        let mut late: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (id, since) in self.state.missing() {
            let fake = fake_node(&id, FakeReason::Unregistered);
            let Ok(Some(group)) = self.caches.group_for(fake).await else {
                continue;
            };
            let Ok(options) = self.options_of(&group.id).await else {
                return;
            };
            if passed(since, options.provision_time, now_ms) {
                late.entry(group.id.clone()).or_default().push(id);
            }
        }
        let groups = self.caches.groups().await;
        for (id, mut instances) in late {
            let Some(group) = groups.iter().find(|group| group.id == id) else {
                let why = format!("{instances:?} are in {id}, which is not in NodeGroups");
                self.events.push(Event::WouldPanic { why });
                return;
            };
            let Ok(target) = self.caches.provider.target_size(&id).await else {
                continue;
            };
            instances.truncate(usize::try_from(target - group.min).unwrap_or(0));
            if instances.is_empty() || self.options_of(&id).await.is_err() {
                continue;
            }
            let removed = self.delete_fakes(&id, &instances, FakeReason::Unregistered);
            if let Err(why) = removed.await {
                self.instances.forget(&id);
                self.events.push(Event::ScaleDownFailed { node: id, why });
                return;
            }
        }
    }

    pub(super) async fn remove_failed_creations(&mut self) {
        let mut any = false;
        for group in self.caches.groups().await {
            let failed = self.state.failed(&group.id);
            if failed.is_empty() || self.options_of(&group.id).await.is_err() {
                continue;
            }
            let removed = self.delete_fakes(&group.id, &failed, FakeReason::CreateError);
            match removed.await {
                Ok(()) => any = true,
                Err(why) => self.events.push(Event::ScaleDownFailed {
                    node: group.id.clone(),
                    why,
                }),
            }
        }
        if any {
            self.recalculate().await;
        }
    }

    /// Deletes what stands for instances; the list of their group is a fresh one next time.
    async fn delete_fakes(
        &mut self,
        group: &str,
        instances: &[String],
        reason: FakeReason,
    ) -> Result<(), String> {
        let fakes = instances.iter().map(|id| fake_node(id, reason)).collect();
        let deleted = self.caches.provider.delete(group, fakes).await;
        deleted.map_err(|status| status.to_string())?;
        self.instances.forget(group);
        Ok(())
    }

    /// Makes targets agree with what exists; if there was anything to do, the loop ends.
    pub(super) async fn fix_sizes(&self, now_ms: u64) -> Result<bool, Abort> {
        let mut fixed = false;
        for group in self.caches.groups().await {
            let Some(wrong) = self.state.wrong_size(&group.id) else {
                continue;
            };
            let options = self.options_of(&group.id).await;
            let options = options
                .map_err(|status| Abort::at("NodeGroupGetOptions", &status, Timers::Kept))?;
            let delta = wrong.registered - wrong.target;
            if delta >= 0 || !passed(wrong.since_ms, options.provision_time, now_ms) {
                continue;
            }
            let decreased = self.caches.provider.decrease(&group.id, delta).await;
            decreased.map_err(|status| {
                Abort::at("NodeGroupDecreaseTargetSize", &status, Timers::Kept)
            })?;
            fixed = true;
        }
        Ok(fixed)
    }

    /// Reckons with fresh targets; after an error with none.
    pub(super) async fn recalculate(&mut self) {
        let mut targets = BTreeMap::new();
        for group in self.caches.groups().await {
            match self.caches.provider.target_size(&group.id).await {
                Ok(target) => {
                    targets.insert(group.id.clone(), target);
                }
                Err(_) => {
                    targets.clear();
                    break;
                }
            }
        }
        self.state.recalculate(targets);
    }
}
