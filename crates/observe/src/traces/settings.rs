//! How and where traces are exported, from the variables that the OpenTelemetry specification names.
//!
//! Where the specification has an unknown value ignored with a warning, it is an error here, as with
//! Warren's own variables: traces that are missing, or all of them instead of a few, are noticed late.

use super::variables::Variables;
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

/// Where traces go when the general endpoint is given.
pub(super) const PATH: &str = "/v1/traces";
/// What samplers begin with that go by the decision of whoever comes before.
const PARENT_BASED: &str = "parentbased_";
/// Spans that may wait at most, whatever is asked for.
const LARGEST_QUEUE: usize = 1 << 20;

/// Which traces are recorded.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    /// Whether the decision of whoever comes before counts.
    pub(super) parent_based: bool,
    /// What decides otherwise.
    pub(super) sampler: Sampler,
}

/// See the module.
#[derive(Clone)]
pub struct TraceSettings {
    pub(super) endpoint: Url,
    /// They may hold a token.
    pub(super) headers: HashMap<String, String>,
    /// Of one attempt to export.
    pub(super) timeout: Duration,
    /// Of an export with its repetitions.
    pub(super) export_timeout: Duration,
    /// The longest that a span waits before it is exported.
    pub(super) delay: Duration,
    /// Spans that may wait; beyond it they are dropped.
    pub(super) queue: usize,
    /// Spans exported at once.
    pub(super) batch: usize,
    pub(super) sampling: Sampling,
    /// Attributes of this process, beside those that are known.
    pub(super) resource: Vec<(String, String)>,
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceSettings").field("to", &self.destination()).finish_non_exhaustive()
    }
}

impl TraceSettings {
    /// Reads the settings from environment variables. `None` when there is no endpoint, or traces are
    /// switched off; the other variables are then nobody's concern.
    ///
    /// # Errors
    /// All [`ConfigErrors`] that were made, not only the first.
    pub fn from_vars(
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Option<Self>, ConfigErrors> {
        let mut vars = Variables::new(vars);
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
            vars.mistake("OTEL_TRACES_EXPORTER", "accepts otlp or none");
        }
        refuse_others(&mut vars);
        let timeout = vars.milliseconds(
            &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
            10_000,
            1,
        );
        let queue = vars.number(&["OTEL_BSP_MAX_QUEUE_SIZE"], 2048, 1) as usize;
        let queue = queue.min(LARGEST_QUEUE);
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

    /// Host and port, for the log: the rest of an address may hold a secret.
    pub(super) fn destination(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        format!("{host}:{}", self.endpoint.port_or_known_default().unwrap_or_default())
    }
}

/// The address for traces: as it is given for them, or below the one for everything.
fn endpoint_of(vars: &mut Variables, name: &str, text: &str) -> Option<Url> {
    let fits = |url: &Url| {
        // The exporter reads it by other rules, and would show it in its error.
        let fits_exporter = Request::post(url.as_str()).body(()).is_ok();
        matches!(url.scheme(), "http" | "https") && url.has_host() && fits_exporter
    };
    let Some(mut url) = Url::parse(text).ok().filter(fits) else {
        vars.mistake(name, "accepts an address such as http://collector.monitoring:4318");
        return None;
    };
    // They would be ignored, and shown by libraries that log addresses.
    if !url.username().is_empty() || url.password().is_some() {
        vars.mistake(
            name,
            "accepts no user and password; put them into OTEL_EXPORTER_OTLP_HEADERS",
        );
        return None;
    }
    if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
        let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Some(url)
}

/// What the specification knows and Warren does not do.
fn refuse_others(vars: &mut Variables) {
    let protocol =
        vars.first(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((name, value)) = protocol
        && value != "http/protobuf"
    {
        vars.mistake(&name, "accepts http/protobuf only, which collectors take on port 4318");
    }
    let compression =
        vars.first(&["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"]);
    if let Some((name, value)) = compression
        && !value.eq_ignore_ascii_case("none")
    {
        vars.mistake(&name, "accepts none only");
    }
    for (variable, problem) in [
        ("CERTIFICATE", "is not supported; name whom to trust in SSL_CERT_FILE"),
        ("CLIENT_CERTIFICATE", "is not supported: there are no client certificates"),
        ("CLIENT_KEY", "is not supported: there are no client certificates"),
    ] {
        for signal in ["TRACES_", ""] {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}{variable}");
            if vars.one(&name).is_some() {
                vars.mistake(&name, problem);
            }
        }
    }
    const PROPAGATORS: &str = "OTEL_PROPAGATORS";
    let known = |name: &str| matches!(name.trim(), "tracecontext" | "baggage" | "none");
    if vars.one(PROPAGATORS).is_some_and(|names| !names.split(',').all(known)) {
        vars.mistake(PROPAGATORS, "accepts tracecontext; baggage and none change nothing");
    }
}

fn headers(vars: &mut Variables) -> HashMap<String, String> {
    let (name, pairs) =
        vars.pairs(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]);
    let good = |(key, value): &(String, String)| {
        HeaderName::try_from(key).is_ok() && HeaderValue::try_from(value).is_ok()
    };
    if !pairs.iter().all(good) {
        vars.mistake(&name, "accepts names and values that HTTP headers can have");
    }
    pairs.into_iter().collect()
}

fn sampling(vars: &mut Variables) -> Sampling {
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
                vars.mistake(ARGUMENT, "accepts a number from 0 to 1, such as 0.01");
            }
            Sampler::TraceIdRatioBased(ratio.unwrap_or_default())
        }
        _ => {
            vars.mistake(
                NAME,
                "accepts always_on, always_off or traceidratio, or one of them behind parentbased_",
            );
            Sampler::AlwaysOff
        }
    };
    Sampling { parent_based: root.is_some(), sampler }
}

/// As the variables say it.
impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.parent_based { PARENT_BASED } else { "" })?;
        match &self.sampler {
            Sampler::AlwaysOn => f.write_str("always_on"),
            Sampler::TraceIdRatioBased(ratio) => write!(f, "traceidratio {ratio}"),
            // There are no others.
            _ => f.write_str("always_off"),
        }
    }
}

impl Sampling {
    /// Whether a trace that enters this process is recorded.
    pub(super) fn wants(&self, parent: Option<&SpanContext>, trace: TraceId) -> bool {
        if let Some(parent) = parent.filter(|_| self.parent_based) {
            return parent.is_sampled();
        }
        // These samplers go by the id alone.
        let result = self.sampler.should_sample(None, trace, "", &SpanKind::Internal, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

/// The variable for the name of the service counts more than the list.
fn resource(vars: &mut Variables) -> Vec<(String, String)> {
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
    fn nothing_is_exported_without_an_endpoint_or_when_switched_off() {
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
    fn the_endpoint_for_traces_is_taken_as_it_is() {
        let traces = |address| good(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address)]).endpoint;
        assert_eq!(good(&[]).endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(traces("http://other:1/here").as_str(), "http://other:1/here");
        assert_eq!(traces("http://other:1").as_str(), "http://other:1/");
        let below = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gateway/otlp/")];
        let below = read(&below).unwrap().unwrap();
        assert_eq!(below.endpoint.as_str(), "http://gateway/otlp/v1/traces");
    }

    #[test]
    fn variables_for_traces_count_more_and_lists_are_decoded() {
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
    fn samplers_are_those_of_the_specification() {
        let context =
            |flags| trace_context::parse(&format!("00-{:032x}-{:016x}-{flags}", 5, 7), None);
        let (sampled, unsampled) = (context("01").unwrap(), context("00").unwrap());
        // Ratios go by the end of the id.
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
            assert_eq!(ids.map(|id| sampling.wants(None, id)), roots, "{name}");
            let parents = [&sampled, &unsampled];
            let decided = parents.map(|parent| sampling.wants(Some(parent), parent.trace_id()));
            assert_eq!(decided, below, "{name}");
        }
    }

    #[test]
    fn a_sampler_is_shown_as_it_is_set() {
        let shown = |name, argument| {
            let vars = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            good(&vars).sampling.to_string()
        };
        assert_eq!(shown("", ""), "parentbased_always_on");
        assert_eq!(shown("always_off", ""), "always_off");
        assert_eq!(shown("parentbased_traceidratio", "0.01"), "parentbased_traceidratio 0.01");
    }

    #[test]
    fn what_is_not_supported_is_refused_and_what_changes_nothing_is_not() {
        for (name, value, hint) in [
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "secret", "SSL_CERT_FILE"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "secret", "SSL_CERT_FILE"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "secret", "no client certificates"),
            ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "secret", "no client certificates"),
            ("OTEL_PROPAGATORS", "tracecontext,secret", "tracecontext"),
            ("OTEL_TRACES_EXPORTER", "secret", "otlp or none"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:secret@c", "OTLP_HEADERS"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://secret@c:4318", "OTLP_HEADERS"),
            // The last one is an address to some, and none to others.
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://{secret}:4318", "an address such as"),
        ] {
            let mistakes = read(&[ENDPOINT, (name, value)]).unwrap_err();
            let [mistake] = &mistakes.0[..] else { panic!("{mistakes}") };
            assert_eq!(mistake.variable, name);
            assert!(mistake.problem.contains(hint), "{mistake:?}");
            assert!(!mistakes.to_string().contains("secret"), "{mistakes}");
        }
        good(&[("OTEL_PROPAGATORS", "tracecontext, baggage"), ("OTEL_TRACES_SAMPLER", "  ")]);
        good(&[("OTEL_PROPAGATORS", "none"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "None")]);
    }

    #[test]
    fn all_mistakes_at_once_and_no_value_is_shown() {
        let mistakes = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://user:secret@collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "secret"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ])
        .unwrap_err();
        let names: Vec<_> = mistakes.0.iter().map(|mistake| mistake.variable.as_str()).collect();
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
        let text = mistakes.to_string();
        assert!(text.contains("http/protobuf only") && !text.contains("secret"), "{text}");
    }
}
