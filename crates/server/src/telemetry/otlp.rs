//! The exporters: traces in batches, metrics at intervals, over HTTP with protobuf.
//!
//! The usual `OTEL_…` variables set the rest: headers, the name of the service, sampling, intervals.

use std::collections::HashMap;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, global};
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

use super::http::Sender;
use super::recorder::Both;
use super::{TRACE, is_traceparent};
use crate::config::Config;

const SERVICE: &str = "landfall-server";
const TRACEPARENT: &str = "traceparent";
/// How long the last exports may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why telemetry cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    /// The exporters.
    #[error("OpenTelemetry: {0}")]
    Exporter(String),
    /// The HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// What exports.
pub(crate) struct Telemetry {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl Telemetry {
    /// Begins to export, if a collector is configured. Call it inside the runtime that is to send.
    pub fn start(config: &Config) -> Result<Option<Self>, TelemetryError> {
        let Some(base) = &config.otlp_endpoint else {
            return Ok(None);
        };
        let base = base.trim_end_matches('/');
        let failed = |error: opentelemetry_otlp::ExporterBuildError| {
            TelemetryError::Exporter(error.to_string())
        };
        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new()?)
            .with_endpoint(format!("{base}/v1/traces"))
            .build()
            .map_err(failed)?;
        let measures = MetricExporter::builder()
            .with_http()
            .with_http_client(Sender::new()?)
            .with_endpoint(format!("{base}/v1/metrics"))
            .build()
            .map_err(failed)?;
        let resource = Resource::builder();
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name(SERVICE),
        }
        .build();
        let traces = SdkTracerProvider::builder()
            .with_batch_exporter(spans)
            .with_resource(resource.clone())
            .build();
        let metrics = SdkMeterProvider::builder()
            .with_periodic_exporter(measures)
            .with_resource(resource)
            .build();
        global::set_meter_provider(metrics.clone());
        Ok(Some(Telemetry { traces, metrics }))
    }

    /// Takes spans, and what is logged within them.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = Targets::new()
            .with_target(TRACE, LevelFilter::DEBUG)
            .with_target("landfall_server", LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.traces.tracer(SERVICE))
            .with_filter(ours)
            .boxed()
    }

    /// Exports what is left.
    pub async fn shutdown(self) {
        let ended = tokio::task::spawn_blocking(move || {
            let traces = self.traces.shutdown_with_timeout(FAREWELL);
            let metrics = self.metrics.shutdown_with_timeout(FAREWELL);
            traces.and(metrics).map_err(|error| error.to_string())
        })
        .await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error, "the last traces or metrics were not exported"),
            Err(error) => tracing::warn!(%error, "the last traces or metrics were not exported"),
        }
    }
}

/// Installs what counts, for the collector as well if there is one; the handle renders it.
pub(crate) fn install_recorder(config: &Config) -> Option<PrometheusHandle> {
    if config.otlp_endpoint.is_none() {
        return PrometheusBuilder::new().install_recorder().ok();
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let both = Both::new(recorder, global::meter(SERVICE));
    metrics::set_global_recorder(both).ok().map(|()| handle)
}

/// Makes a span part of the page's trace.
pub(crate) fn join_trace(span: &Span, page: Option<&str>) {
    let Some(parent) = page.filter(|text| is_traceparent(text)) else {
        return;
    };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), parent.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    // A span that nobody takes has no parent either.
    let _ = span.set_parent(parent);
}

/// The `traceparent` for whoever is called next on behalf of a page with this one.
pub(crate) fn current_trace(page: Option<&str>) -> Option<String> {
    let context = Span::current().context();
    if !context.span().span_context().is_valid() {
        return page.filter(|text| is_traceparent(text)).map(str::to_owned);
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}
