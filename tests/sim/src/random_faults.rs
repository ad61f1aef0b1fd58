//! What goes wrong in a random world: tabs die and freeze, storage fails, is silent, is damaged, loses its tail.

use crate::promises;
use crate::random_run::Run;
use crate::world::TabId;
use landfall_store::StoreName;
use std::collections::BTreeSet;

impl Run {
    pub(crate) fn freeze_or_thaw(&mut self) {
        let tabs: Vec<TabId> = self.world.tabs.keys().copied().collect();
        let Some(&id) = self.dice.pick(&tabs) else {
            return;
        };
        if let Some(tab) = self.world.tabs.get_mut(&id) {
            tab.frozen = !tab.frozen;
        }
    }

    /// Notes whose storage has broken.
    pub(crate) fn note_broken(&mut self) {
        let executed = self.world.server.executed.len();
        for (id, tab) in &self.world.tabs {
            match tab.storage_fails {
                true => _ = self.broken.entry(*id).or_insert(executed),
                false => _ = self.broken.remove(id),
            }
        }
    }

    /// What a tab sent that storage failed or did not answer until now, storage will never know to be sent.
    pub(crate) fn kill(&mut self, id: TabId) {
        let mut unknown = Vec::new();
        if let Some(before) = self.broken.remove(&id) {
            let done = self.world.server.executed[before..].iter();
            unknown.extend(done.map(|done| done.argument.clone()));
        }
        if let Some(tab) = self.world.tabs.get(&id)
            && tab
                .notes
                .iter()
                .any(|note| note.contains("does not answer"))
        {
            unknown.extend(promises::unsent(&self.world, tab));
        }
        let made = self.made.iter().filter(|((tab, _), _)| *tab == id);
        let made: BTreeSet<&String> = made.map(|(_, made)| &made.argument).collect();
        unknown.retain(|argument| made.contains(argument));
        self.untold.extend(unknown);
        self.world.kill_tab(id);
    }

    pub(crate) fn power_failure(&mut self) {
        self.note();
        let browser = self.some_browser();
        let tabs: Vec<TabId> = self.world.tabs.keys().copied().collect();
        for tab in tabs {
            if self.world.homes.get(&tab) == Some(&browser) {
                self.kill(tab);
            }
        }
        let dice = &mut self.dice;
        self.world.browsers[browser]
            .disk
            .lose_power(|count| dice.roll(count as u64 + 1) as usize);
    }

    /// A stored value is damaged. The head only where mutations may become uncertain, what users made only where it may
    /// be lost.
    pub(crate) fn damage(&mut self) {
        let [pages, log, head] = [StoreName::Pages, StoreName::Log, StoreName::Head];
        let stores = match (self.forgetful, self.evicting) {
            (_, true) => &[pages, log, head, StoreName::Queue, StoreName::Outcomes][..],
            (true, false) => &[pages, log, head],
            (false, false) => &[pages, log],
        };
        let browser = self.some_browser();
        if let Some(&store) = self.dice.pick(stores) {
            let dice = &mut self.dice;
            let disk = &self.world.browsers[browser].disk;
            disk.damage(store, |count| dice.roll(count as u64) as usize);
        }
    }

    /// Storage answers a tab nothing, for a while or for as long as it is open. What a tab sends without storage knowing
    /// is issued again where another one begins a new group, so where groups end it is not connected meanwhile.
    pub(crate) fn stall(&mut self) {
        let Some(id) = self.some_tab() else { return };
        self.note();
        let groups_end = self.forgetful || self.evicting;
        if groups_end {
            self.world.cut_off.insert(id);
            self.world.break_tab(id);
        }
        let mut before = Vec::new();
        for (other, tab) in &mut self.world.tabs {
            tab.storage_stalled |= *other == id;
            before.push((*other, tab.manual_storage, tab.manual_work));
            (tab.manual_storage, tab.manual_work) = (false, false);
        }
        let ms = self.dice.roll(80_000) as f64;
        self.world.pass(ms);
        let ends = groups_end || self.dice.once_in(2);
        for (other, storage, work) in before {
            if let Some(tab) = self.world.tabs.get_mut(&other) {
                tab.storage_stalled &= other != id || !ends;
                (tab.manual_storage, tab.manual_work) = (storage, work);
            }
        }
        if groups_end {
            self.world.cut_off.remove(&id);
        }
    }
}
