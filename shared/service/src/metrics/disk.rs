//! How much room is left where a service keeps its files, asked when somebody scrapes.
//!
//! By the system call `statvfs`, because the figure is per file system and nobody but the kernel knows it. What counts as
//! free is what this process could still use: blocks that a file system keeps for root are not.

use std::path::{Path, PathBuf};

use prometheus::{
    IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::MetricDoc;

const FREE: MetricDoc = MetricDoc::gauge(
    "reflow_disk_free_bytes",
    &[],
    "bytes that can still be written where the SQLite file and the dead letters beside it lie",
);
const SIZE: MetricDoc = MetricDoc::gauge("reflow_disk_size_bytes", &[], "bytes of that file system");

/// What is told of a folder's file system.
pub const DISK_METRICS: [MetricDoc; 2] = [FREE, SIZE];

pub(super) struct DiskCollector {
    folder: PathBuf,
    free: IntGauge,
    size: IntGauge,
}

impl DiskCollector {
    pub fn try_new(folder: &Path) -> Result<Self, prometheus::Error> {
        // The folder of a file name alone is the current one.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Ok(Self {
            folder: folder.to_owned(),
            free: IntGauge::new(FREE.name, FREE.help)?,
            size: IntGauge::new(SIZE.name, SIZE.help)?,
        })
    }
}

impl Collector for DiskCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.free.desc().into_iter().chain(self.size.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return Vec::new() };
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
        self.free.set(bytes(disk.f_bavail));
        self.size.set(bytes(disk.f_blocks));
        self.free.collect().into_iter().chain(self.size.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn a_folder_has_room_and_a_missing_one_is_not_told_as_full() {
        let folder = tempfile::tempdir().unwrap();
        let collector = DiskCollector::try_new(folder.path()).unwrap();
        collector.collect();
        assert!(collector.free.get() > 0 && collector.size.get() >= collector.free.get());
        assert!(DiskCollector::try_new(&folder.path().join("missing")).unwrap().collect().is_empty());
    }

    #[test]
    fn both_are_exported_and_documented() {
        let metrics = Metrics::try_new("test").unwrap();
        metrics.watch_disk(Path::new("")).unwrap();
        let text = metrics.render().unwrap();
        assert!(DISK_METRICS.iter().all(|doc| doc.check().is_ok() && text.contains(&format!("\n{} ", doc.name))));
        assert!(metrics.undocumented().is_empty());
    }
}
