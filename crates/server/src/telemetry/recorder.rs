//! Counts for both: `/metrics`, and the collector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::RwLock;

/// Bounds of a histogram's buckets; all of ours are of seconds.
const SECONDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// A recorder, and instruments of the same names.
pub(super) struct Both<R> {
    local: R,
    meter: Meter,
    counters: RwLock<BTreeMap<Key, Counter>>,
    gauges: RwLock<BTreeMap<Key, Gauge>>,
    histograms: RwLock<BTreeMap<Key, Histogram>>,
}

impl<R> Both<R> {
    pub fn new(local: R, meter: Meter) -> Self {
        Both {
            local,
            meter,
            counters: RwLock::default(),
            gauges: RwLock::default(),
            histograms: RwLock::default(),
        }
    }
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    let attribute =
        |label: &metrics::Label| KeyValue::new(label.key().to_owned(), label.value().to_owned());
    key.labels().map(attribute).collect()
}

/// One that was made before, or a new one.
fn known<T: Clone>(map: &RwLock<BTreeMap<Key, T>>, key: &Key, make: impl FnOnce() -> T) -> T {
    if let Some(known) = map.read().get(key) {
        return known.clone();
    }
    map.write().entry(key.clone()).or_insert_with(make).clone()
}

impl<R: Recorder> Recorder for Both<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.local.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.local.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.local.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        known(&self.counters, key, || {
            Counter::from_arc(Arc::new(BothCounter {
                local: self.local.register_counter(key, metadata),
                remote: self.meter.u64_counter(key.name().to_owned()).build(),
                attributes: attributes(key),
                total: AtomicU64::new(0),
            }))
        })
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        known(&self.gauges, key, || {
            Gauge::from_arc(Arc::new(BothGauge {
                local: self.local.register_gauge(key, metadata),
                remote: self.meter.f64_gauge(key.name().to_owned()).build(),
                attributes: attributes(key),
                bits: AtomicU64::new(0f64.to_bits()),
            }))
        })
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        known(&self.histograms, key, || {
            let remote = self.meter.f64_histogram(key.name().to_owned());
            Histogram::from_arc(Arc::new(BothHistogram {
                local: self.local.register_histogram(key, metadata),
                remote: remote.with_boundaries(SECONDS.to_vec()).build(),
                attributes: attributes(key),
            }))
        })
    }
}

struct BothCounter {
    local: Counter,
    remote: opentelemetry::metrics::Counter<u64>,
    attributes: Vec<KeyValue>,
    total: AtomicU64,
}

impl CounterFn for BothCounter {
    fn increment(&self, value: u64) {
        self.local.increment(value);
        self.total.fetch_add(value, Ordering::Relaxed);
        self.remote.add(value, &self.attributes);
    }

    fn absolute(&self, value: u64) {
        self.local.absolute(value);
        let before = self.total.fetch_max(value, Ordering::Relaxed);
        self.remote
            .add(value.saturating_sub(before), &self.attributes);
    }
}

struct BothGauge {
    local: Gauge,
    remote: opentelemetry::metrics::Gauge<f64>,
    attributes: Vec<KeyValue>,
    /// The value, as bits.
    bits: AtomicU64,
}

impl BothGauge {
    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let before = self
            .bits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        let before = before.unwrap_or_else(|bits| bits);
        self.remote
            .record(change(f64::from_bits(before)), &self.attributes);
    }
}

impl GaugeFn for BothGauge {
    fn increment(&self, value: f64) {
        self.local.increment(value);
        self.change(|now| now + value);
    }

    fn decrement(&self, value: f64) {
        self.local.decrement(value);
        self.change(|now| now - value);
    }

    fn set(&self, value: f64) {
        self.local.set(value);
        self.change(|_| value);
    }
}

struct BothHistogram {
    local: Histogram,
    remote: opentelemetry::metrics::Histogram<f64>,
    attributes: Vec<KeyValue>,
}

impl HistogramFn for BothHistogram {
    fn record(&self, value: f64) {
        self.local.record(value);
        self.remote.record(value, &self.attributes);
    }
}
