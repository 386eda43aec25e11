//! Settings of the export of traces, from the variables of the OpenTelemetry specification.
//!
//! An unknown value is an error, as with Warren's own variables, although the specification asks for a
//! warning: missing traces, or all of them instead of a few, would be noticed late. The SDK and its exporter
//! ignore such values, so this reads the variables itself.

use super::variables::OtelVariables;
use opentelemetry::trace::{SpanContext, SpanKind, TraceId};
use opentelemetry_http::Request;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;
use warren_config::ConfigErrors;

/// Path of traces below the general endpoint.
pub(super) const PATH: &str = "/v1/traces";
/// Prefix of the samplers that follow the decision of the parent.
const PARENT_BASED: &str = "parentbased_";
/// Maximum size of the queue, regardless of the variable.
const MAX_QUEUE: usize = 1 << 20;

/// The choice of the traces that are recorded.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    /// Follow the decision of the parent, if there is one.
    pub(super) parent_based: bool,
    /// Decides all other cases.
    pub(super) sampler: Sampler,
}

/// Settings of the export of traces.
#[derive(Clone)]
pub struct TraceSettings {
    pub(super) endpoint: Url,
    /// Request headers, which may contain a token.
    pub(super) headers: HashMap<String, String>,
    /// Timeout of one attempt.
    pub(super) timeout: Duration,
    /// Timeout of an export with its retries.
    pub(super) export_timeout: Duration,
    /// Maximum time that a span waits before it is exported.
    pub(super) delay: Duration,
    /// Size of the queue. Beyond it, spans are dropped.
    pub(super) queue: usize,
    /// Spans in one export.
    pub(super) batch: usize,
    pub(super) sampling: Sampling,
    /// Attributes of this process, in addition to the known ones.
    pub(super) resource: Vec<(String, String)>,
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSettings").field("to", &self.destination()).finish_non_exhaustive()
    }
}

impl TraceSettings {
    /// Reads the settings from environment variables. `None` if there is no endpoint, or traces are
    /// disabled; the other variables are then ignored.
    ///
    /// # Errors
    /// All [`ConfigErrors`], not only the first.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Option<Self>, ConfigErrors> {
        let mut vars = OtelVariables::new(vars);
        let disabled = vars.one("OTEL_SDK_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let exporter = vars.one("OTEL_TRACES_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
        if exporter == "none" {
            return Ok(None);
        }
        let Some((name, endpoint)) =
            vars.first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
        else {
            return vars.finish(None);
        };
        let endpoint = endpoint_of(&mut vars, &name, &endpoint);
        if exporter != "otlp" {
            vars.error("OTEL_TRACES_EXPORTER", "accepts otlp or none");
        }
        reject_unsupported(&mut vars);
        let timeout = vars.milliseconds(
            &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
            10_000,
            1,
        );
        let queue = vars.number(&["OTEL_BSP_MAX_QUEUE_SIZE"], 2048, 1) as usize;
        let queue = queue.min(MAX_QUEUE);
        let batch = vars.number(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512, 1) as usize;
        let delay = vars.milliseconds(&["OTEL_BSP_SCHEDULE_DELAY"], 5000, 0);
        let export_timeout = vars.milliseconds(&["OTEL_BSP_EXPORT_TIMEOUT"], 30_000, 1);
        let headers = headers(&mut vars);
        let sampling = sampling(&mut vars);
        let resource = resource(&mut vars);
        let batch = batch.min(queue);
        let settings = endpoint.map(|endpoint| Self {
            endpoint,
            headers,
            timeout,
            export_timeout,
            delay,
            queue,
            batch,
            sampling,
            resource,
        });
        vars.finish(settings)
    }

    /// Host and port, for the log output. The rest of an address may contain a secret.
    pub(super) fn destination(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        format!("{host}:{}", self.endpoint.port_or_known_default().unwrap_or_default())
    }
}

/// The address for traces: their own endpoint, or a path below the general one.
fn endpoint_of(vars: &mut OtelVariables, name: &str, text: &str) -> Option<Url> {
    let fits = |url: &Url| {
        // The exporter parses it with another parser, whose error would contain it.
        let fits_exporter = Request::post(url.as_str()).body(()).is_ok();
        matches!(url.scheme(), "http" | "https") && url.has_host() && fits_exporter
    };
    let Some(mut url) = Url::parse(text).ok().filter(fits) else {
        vars.error(name, "accepts an address such as http://collector.monitoring:4318");
        return None;
    };
    // They would be ignored, and logged by libraries that log addresses.
    if !url.username().is_empty() || url.password().is_some() {
        vars.error(name, "accepts no user and password; put them into OTEL_EXPORTER_OTLP_HEADERS");
        return None;
    }
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
        let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Some(url)
}

/// Rejects what the specification defines and Warren does not support.
fn reject_unsupported(vars: &mut OtelVariables) {
    let protocol =
        vars.first(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((name, value)) = protocol
        && value != "http/protobuf"
    {
        vars.error(&name, "accepts http/protobuf only, which collectors take on port 4318");
    }
    let compression =
        vars.first(&["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]);
    if let Some((name, value)) = compression
        && !value.eq_ignore_ascii_case("none")
    {
        vars.error(&name, "accepts none only");
    }
    for (variable, problem) in [
        ("CERTIFICATE", "is not supported; name whom to trust in SSL_CERT_FILE"),
        ("CLIENT_CERTIFICATE", "is not supported: there are no client certificates"),
        ("CLIENT_KEY", "is not supported: there are no client certificates"),
    ] {
        for signal in ["TRACES_", ""] {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}{variable}");
            if vars.one(&name).is_some() {
                vars.error(&name, problem);
            }
        }
    }
    const PROPAGATORS: &str = "OTEL_PROPAGATORS";
    let known = |name: &str| matches!(name.trim(), "tracecontext" | "baggage" | "none");
    if vars.one(PROPAGATORS).is_some_and(|names| !names.split(',').all(known)) {
        vars.error(PROPAGATORS, "accepts tracecontext; baggage and none change nothing");
    }
}

fn headers(vars: &mut OtelVariables) -> HashMap<String, String> {
    let (name, pairs) =
        vars.pairs(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]);
    let good = |(key, value): &(String, String)| {
        HeaderName::try_from(key).is_ok() && HeaderValue::try_from(value).is_ok()
    };
    if !pairs.iter().all(good) {
        vars.error(&name, "accepts names and values that HTTP headers can have");
    }
    pairs.into_iter().collect()
}

fn sampling(vars: &mut OtelVariables) -> Sampling {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let name = vars.one(NAME).unwrap_or_else(|| "parentbased_always_on".to_owned());
    let root = name.strip_prefix(PARENT_BASED);
    let sampler = match root.unwrap_or(&name) {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => {
            let text = vars.one(ARGUMENT).unwrap_or_else(|| "1".to_owned());
            let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            if ratio.is_none() {
                vars.error(ARGUMENT, "accepts a number from 0 to 1, such as 0.01");
            }
            Sampler::TraceIdRatioBased(ratio.unwrap_or_default())
        }
        _ => {
            vars.error(
                NAME,
                "accepts always_on, always_off or traceidratio, or one of them behind parentbased_",
            );
            Sampler::AlwaysOff
        }
    };
    Sampling { parent_based: root.is_some(), sampler }
}

/// Displays the name of the sampler, as in the variable.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.parent_based { PARENT_BASED } else { "" })?;
        match &self.sampler {
            Sampler::AlwaysOn => f.write_str("always_on"),
            Sampler::TraceIdRatioBased(ratio) => write!(f, "traceidratio {ratio}"),
            // The settings have no other sampler.
            _ => f.write_str("always_off"),
        }
    }
}

impl Sampling {
    /// Decides whether a trace that enters this process is recorded.
    pub(super) fn samples(&self, parent: Option<&SpanContext>, trace: TraceId) -> bool {
        if let Some(parent) = parent.filter(|_| self.parent_based) {
            return parent.is_sampled();
        }
        // These samplers use only the trace id.
        let result = self.sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

/// Resource attributes. The variable for the service name takes precedence.
fn resource(vars: &mut OtelVariables) -> Vec<(String, String)> {
    let (_, mut resource) = vars.pairs(&["OTEL_RESOURCE_ATTRIBUTES"]);
    if let Some(name) = vars.one("OTEL_SERVICE_NAME") {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name));
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_protocol::trace_context;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn read(vars: &[(&str, &str)]) -> Result<Option<TraceSettings>, ConfigErrors> {
        TraceSettings::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn good(vars: &[(&str, &str)]) -> TraceSettings {
        read(&[&[ENDPOINT], vars].concat()).unwrap().unwrap()
    }

    #[test]
    fn no_export_without_endpoint_or_when_disabled() {
        for off in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_TRACES_SAMPLER", "nonsense")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_TRACES_EXPORTER", "console")],
        ] {
            assert!(read(off).unwrap().is_none(), "{off:?}");
        }
        assert_eq!(good(&[("OTEL_SDK_DISABLED", "false")]).destination(), "collector:4318");
    }

    #[test]
    fn traces_endpoint_is_used_unchanged() {
        let traces = |address| good(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address)]).endpoint;
        assert_eq!(good(&[]).endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(traces("http://other:1/here").as_str(), "http://other:1/here");
        assert_eq!(traces("http://other:1").as_str(), "http://other:1/");
        let below = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gateway/otlp/")];
        let below = read(&below).unwrap().unwrap();
        assert_eq!(below.endpoint.as_str(), "http://gateway/otlp/v1/traces");
    }

    #[test]
    fn traces_variables_take_precedence_and_lists_are_decoded() {
        let settings = good(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20abc%3D, x-scope = 2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=a%2Cb"),
            ("OTEL_SERVICE_NAME", "chat"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ]);
        assert_eq!(settings.headers["authorization"], "Bearer abc=");
        assert_eq!((settings.headers.len(), &*settings.headers["x-scope"]), (2, "2"));
        assert_eq!(settings.timeout, Duration::from_millis(250));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings.resource, [pair("team", "a,b"), pair("service.name", "chat")]);
        assert_eq!((settings.queue, settings.batch), (100, 100));
        assert!(!format!("{settings:?}").contains("abc"));
    }

    #[test]
    fn samplers_decide_as_specified() {
        let context =
            |flags| trace_context::parse(&format!("00-{:032x}-{:016x}-{flags}", 5, 7), None);
        let (sampled, unsampled) = (context("01").unwrap(), context("00").unwrap());
        // Ratios use the end of the id.
        let ids = [1_u128, u128::from(u64::MAX)].map(TraceId::from);
        for (name, argument, roots, below) in [
            ("", "", [true, true], [true, false]),
            ("always_on", "", [true, true], [true, true]),
            ("always_off", "", [false, false], [false, false]),
            ("traceidratio", "0.5", [true, false], [true, true]),
            ("traceidratio", "", [true, true], [true, true]),
            ("parentbased_always_on", "", [true, true], [true, false]),
            ("parentbased_always_off", "", [false, false], [true, false]),
            ("parentbased_traceidratio", "0.5", [true, false], [true, false]),
            ("parentbased_traceidratio", "0", [false, false], [true, false]),
        ] {
            let vars = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            let sampling = good(&vars).sampling;
            assert_eq!(ids.map(|id| sampling.samples(None, id)), roots, "{name}");
            let parents = [&sampled, &unsampled];
            let decided = parents.map(|parent| sampling.samples(Some(parent), parent.trace_id()));
            assert_eq!(decided, below, "{name}");
        }
    }

    #[test]
    fn sampler_is_displayed_as_configured() {
        let shown = |name, argument| {
            let vars = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            good(&vars).sampling.to_string()
        };
        assert_eq!(shown("", ""), "parentbased_always_on");
        assert_eq!(shown("always_off", ""), "always_off");
        assert_eq!(shown("parentbased_traceidratio", "0.01"), "parentbased_traceidratio 0.01");
    }

    #[test]
    fn unsupported_values_are_rejected_and_no_ops_accepted() {
        for (name, value, hint) in [
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "secret", "SSL_CERT_FILE"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "secret", "SSL_CERT_FILE"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "secret", "no client certificates"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "secret", "no client certificates"),
            ("OTEL_PROPAGATORS", "tracecontext,secret", "tracecontext"),
            ("OTEL_TRACES_EXPORTER", "secret", "otlp or none"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:secret@c", "OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://secret@c:4318", "OTLP_HEADERS"),
            // Some parsers accept this address, and others reject it.
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://{secret}:4318", "an address such as"),
        ] {
            let errors = read(&[ENDPOINT, (name, value)]).unwrap_err();
            let [error] = &errors.0[..] else { panic!("{errors}") };
            assert_eq!(error.variable, name);
            assert!(error.problem.contains(hint), "{error:?}");
            assert!(!errors.to_string().contains("secret"), "{errors}");
        }
        good(&[("OTEL_PROPAGATORS", "tracecontext, baggage"), ("OTEL_TRACES_SAMPLER", "  ")]);
        good(&[("OTEL_PROPAGATORS", "none"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "None")]);
    }

    #[test]
    fn all_errors_are_reported_without_values() {
        let errors = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:secret@collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "secret"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ])
        .unwrap_err();
        let names: Vec<_> = errors.0.iter().map(|error| error.variable.as_str()).collect();
        assert_eq!(
            names,
            [
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "OTEL_EXPORTER_OTLP_HEADERS",
                "OTEL_TRACES_SAMPLER_ARG",
            ]
        );
        let text = errors.to_string();
        assert!(text.contains("http/protobuf only") && !text.contains("secret"), "{text}");
    }
}
