//! Objects as they arrive: the one that is known, another one of its name, or one that has been replaced since.
//!
//! Holds: what is made anew under a name is told only once the one before is told as gone.
//! Holds: an event that was on its way while everything was read once more neither removes nor replaces what that showed.

use coordinator_core::MachineId;

use super::{Intake, Told};
use crate::{
    documents::group_id,
    inputs::kubernetes::{declared::Key, lists::Source, mirror::Place},
};

/// What an object that arrives is beside the one that is known by its name.
pub(super) enum Arrival {
    /// The same, or the first; or another one, and these tell that the one before is gone.
    New(Vec<Told>),
    /// One that has been replaced since.
    Late,
}

impl Intake {
    pub(super) fn group_arrives(&mut self, source: Source, place: &Place) -> Arrival {
        let key = place.key();
        self.lists.show(source, key.clone());
        let known = self.mirror.group_place(&group_id(Some(&key.0), &key.1));
        match known.filter(|known| known.uid != place.uid) {
            None => Arrival::New(Vec::new()),
            Some(known) if self.is_late(source, &known, place) => Arrival::Late,
            Some(_) => Arrival::New(self.forget_group(&key)),
        }
    }

    pub(super) fn machine_arrives(&mut self, source: Source, place: &Place) -> Arrival {
        let key = place.key();
        self.lists.show(source, key.clone());
        let known = self.machine_place(&key);
        match known.filter(|known| known.uid != place.uid) {
            None => Arrival::New(Vec::new()),
            Some(known) if self.is_late(source, &known, place) => Arrival::Late,
            Some(_) => Arrival::New(self.forget_machine(&key)),
        }
    }

    /// What is to be told of an object, unless it is late.
    pub(super) fn once(
        &mut self,
        arrival: Arrival,
        take: impl FnOnce(&mut Self) -> Vec<Told>,
    ) -> Vec<Told> {
        match arrival {
            Arrival::New(mut told) => {
                told.extend(take(self));
                told
            }
            Arrival::Late => Vec::new(),
        }
    }

    /// The Node (ours) of this namespace and name as it was seen last, whether it is the machine of its name or stands back.
    pub(super) fn machine_place(&self, key: &Key) -> Option<Place> {
        let owner = self.mirror.machine_place(&MachineId::new(&key.1));
        owner.filter(|place| place.namespace == key.0).or_else(|| {
            let (place, _) = self.rivals.get(key)?;
            Some(place.clone())
        })
    }

    /// A list says what is there, also where versions have gone back because the API server's store was restored.
    fn is_late(&self, source: Source, known: &Place, place: &Place) -> bool {
        place.version != 0 && place.version < known.version && !self.lists.is_under_way(source)
    }
}
