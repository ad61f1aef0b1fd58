//! What a server's processes use, from /proc.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::error::LoadError;

/// A process and all that it has started.
pub struct Processes {
    root: u32,
}

/// Memory of all processes together, in bytes.
#[derive(Serialize, Clone, Copy, Default, Debug)]
pub struct Memory {
    /// Resident, with pages that several share counted once.
    pub resident: u64,
    /// The part of it that no file backs.
    pub anonymous: u64,
    pub processes: usize,
}

impl Processes {
    pub fn of(root: u32) -> Processes {
        Processes { root }
    }

    fn all(&self) -> Result<Vec<u32>, LoadError> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut all = vec![self.root];
        let mut next = 0;
        while let Some(pid) = all.get(next) {
            all.extend(children.get(pid).into_iter().flatten());
            next += 1;
        }
        Ok(all)
    }

    /// CPU seconds used so far. Linux counts hundredths.
    pub fn cpu_seconds(&self) -> Result<f64, LoadError> {
        let ticks: u64 = self
            .all()?
            .into_iter()
            .filter_map(stat)
            .map(|fields| {
                fields
                    .iter()
                    .skip(11)
                    .take(2)
                    .filter_map(|it| it.parse::<u64>().ok())
                    .sum::<u64>()
            })
            .sum();
        Ok(ticks as f64 / 100.0)
    }

    pub fn memory(&self) -> Result<Memory, LoadError> {
        let mut memory = Memory::default();
        for pid in self.all()? {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                continue;
            };
            memory.processes += 1;
            memory.resident += kilobytes(&text, "Pss:") * 1024;
            memory.anonymous += kilobytes(&text, "Pss_Anon:") * 1024;
        }
        if memory.processes == 0 {
            return Err(LoadError::Wrong("the server is not there any more".into()));
        }
        Ok(memory)
    }
}

/// Fields of /proc/PID/stat after the name, which may hold anything: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
