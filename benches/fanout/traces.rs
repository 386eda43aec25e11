//! Cost of traces: for a message that is not sampled, and for deliveries with 1 % of messages sampled.

use crate::report::{table, verdict};
use crate::server::Server;
use crate::{CLIENTS, ClientPool, Outcome, Plan, TEXT, WARM_UP, WINDOWS};
use lapin::types::{AMQPValue, FieldTable};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warren_observe::reporter::Reporter;
use warren_observe::traces::{Consumed, Messaging, TraceSettings, Traces};
use warren_protocol::trace_context;
use warren_testkit::otlp_collector::Collector;

const SAMPLER: (&str, &str) = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
/// Messages in a round that is timed in this process.
const MESSAGES: u32 = 200_000;
/// Targets: microseconds added to a message that is not sampled, and the ratio for a delivery.
const TARGETS: [f64; 2] = [0.3, 1.03];

pub fn run(plan: &Plan) -> Outcome {
    unsampled(plan)?;
    deliveries(plan)
}

/// Measures in this process, without a broker, the time that traces add to a message published and consumed.
fn unsampled(plan: &Plan) -> Outcome {
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        SAMPLER,
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let vars = vars.map(|(name, value)| (name.into(), value.into()));
    let settings = TraceSettings::from_vars(vars)?;
    let traces = Traces::start(settings.as_ref(), "bench", &Arc::new(Reporter::new()))?;
    let messaging = Messaging::new(&traces.tracer, "messages", "messages.log");
    let publish = || {
        let (span, context) = traces.tracer.frame();
        let below = messaging.publish(context.as_ref(), "news", "bench-1", TEXT);
        let mut headers = FieldTable::default();
        if let Some(context) = &context {
            let value = AMQPValue::LongString(trace_context::traceparent(context).into());
            headers.insert(trace_context::TRACEPARENT.into(), value);
        }
        drop((span, below, black_box(headers)));
    };
    let (_, context) = traces.tracer.frame();
    let header = context.as_ref().map(trace_context::traceparent).unwrap_or_default();
    let consumed = Consumed {
        id: Some("1"),
        routing_key: "news",
        message_id: Some("bench-1"),
        delivery_tag: 1,
    };
    let consume = || {
        let creation = trace_context::parse(black_box(&header), None);
        let span = messaging.consume(creation, consumed);
        let context = span.as_ref().map(|span| span.context().clone());
        drop(traces.tracer.broadcast(context.as_ref(), TEXT));
    };
    println!(
        "\nWhat traces add to a message that is not sampled, median of {} rounds",
        plan.rounds
    );
    let [publish, consume] = [time(plan, publish), time(plan, consume)];
    println!("  published {publish:.3} µs, consumed {consume:.3} µs");
    verdict("published", publish, " µs", &[TARGETS[0]]);
    verdict("consumed, on each replica", consume, " µs", &[TARGETS[0]]);
    Ok(())
}

/// Median time of one call, in microseconds.
fn time(plan: &Plan, work: impl Fn()) -> f64 {
    let mut rounds: Vec<_> = (0..plan.rounds.max(5))
        .map(|_| {
            let start = Instant::now();
            (0..MESSAGES).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(MESSAGES)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Measures the CPU of a delivery with 1 % of messages sampled and exported, and without traces.
fn deliveries(plan: &Plan) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let collector = runtime.block_on(Collector::start());
    let endpoint = collector.endpoint();
    let on = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        SAMPLER,
        ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
    ];
    let (_, path) = &plan.builds[0];
    let mut contenders = Vec::new();
    for (name, settings) in [("without traces", &[][..]), ("with traces", &on)] {
        let server = Server::with(path, settings)?;
        let pool = ClientPool::subscribers(server.address, CLIENTS, |_| "lobby".to_owned())?;
        contenders.push((name, server, pool));
    }
    let names = contenders.iter().flat_map(|(name, ..)| WINDOWS.map(|window| (*name, window)));
    let names = names.map(|(name, window)| format!("{name}, {window} outstanding"));
    let series = plan.measure(names.collect(), |subject, time| {
        let (_, server, pool) = &mut contenders[subject / WINDOWS.len()];
        let window = WINDOWS[subject % WINDOWS.len()];
        pool.broadcast(window, WARM_UP, Duration::ZERO)?;
        server.sample(|| pool.broadcast(window, 0, time))
    })?;
    table(&format!("CPU of a delivery to {CLIENTS} clients, one in a hundred sampled"), &series);
    for (on, off) in series[WINDOWS.len()..].iter().zip(&series) {
        verdict(&on.name, on.ratio(off), "×", &[TARGETS[1]]);
    }
    println!("  spans exported: {}", collector.spans().len());
    Ok(())
}
