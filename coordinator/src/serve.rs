//! The wiring: which task owns what, in which order they start, and how they stop.
//! In: [`Settings`]. Out: a running coordinator until SIGTERM, SIGINT or a fault.
//! Holds: everything listens before anything is announced; a stop drains gRPC with GOAWAY and leaves the broker cleanly.
//! Not here: what any of the parts does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{fs, io};

use coordinator_core::Lab;
use prometheus_client::registry::Registry;
use proto_link::{LinkHandle, LinkOptions};
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;

use crate::admin::{self, Known, Pages};
use crate::args::{BrokerSettings, GrpcSecurity, GrpcSettings, Mode, Settings};
use crate::engine::{self, Handle, Seat};
use crate::inputs::autoscaler::{self, Autoscaler, Callers, ServeFault};
use crate::inputs::reports::{self, Readings};
use crate::mandate::Mandate;
use crate::metrics::Metrics;
use crate::outputs::Routes;
use crate::outputs::commands::Commands;
use crate::supervise::{BoxError, Ends, TaskFault, Tasks};

mod broker;
mod certificates;
mod kubernetes;
mod logging;
mod mode;
mod signals;
mod standalone;

use broker::Broker;
use certificates::Issuing;
use mode::{Prepared, Started};
use signals::Signals;

/// How long running calls and the broker's farewell may take after a stop. Shorter than systemd's and the kubelet's patience.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long dropping what is left may take.
const LEFTOVERS: Duration = Duration::from_millis(500);

/// Why the coordinator does not run (any more).
#[derive(Debug, Error)]
pub(crate) enum RunFault {
    /// Something that a person must correct.
    #[error(transparent)]
    Configuration(BoxError),
    /// Something that may be different the next time.
    #[error(transparent)]
    Start(BoxError),
    /// The runtime cannot be built.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// The ports file cannot be written.
    #[error("--ports-file: cannot write {}", path.display())]
    PortsFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A task ended.
    #[error(transparent)]
    Task(#[from] TaskFault),
}

impl RunFault {
    /// Whether starting again without a change is pointless.
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Configuration(_) | Self::PortsFile { .. } => true,
            Self::Start(_) | Self::Runtime(_) | Self::Task(_) => false,
        }
    }

    fn configuration(fault: impl Into<BoxError>) -> Self {
        Self::Configuration(fault.into())
    }

    fn start(fault: impl Into<BoxError>) -> Self {
        Self::Start(fault.into())
    }
}

/// What every part of the wiring shares.
struct Wiring {
    engine: Handle,
    metrics: Metrics,
    readings: Readings,
    tasks: Tasks,
    stop: watch::Receiver<bool>,
    /// Certificates that are to be issued; only inside a cluster.
    issuing: Option<Issuing>,
}

/// Runs until a signal or a fault.
pub(crate) fn run(settings: Settings) -> Result<(), RunFault> {
    logging::start(&settings.log);
    // One thread: the engine is one task and reads take microseconds, so more threads only cost. Each has an allocator's arena
    // of its own (at a thousand machines 6 MiB together), and what wanders between them wakes one each time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunFault::Runtime)?;
    let outcome = runtime.block_on(async {
        // Before anything is begun that a signal would have to end in order.
        let signals = Signals::new()?;
        serve(settings, signals).await
    });
    // Tasks are dropped, so that the socket's file goes; threads that wait for a disk must not hold up the end.
    runtime.shutdown_timeout(LEFTOVERS);
    outcome
}

async fn serve(settings: Settings, mut signals: Signals) -> Result<(), RunFault> {
    let Settings {
        mode,
        grpc,
        admin,
        broker,
        ports_file,
        policy,
        log: _,
    } = settings;
    let (engine, seat) = engine::open(Mandate::default());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, engine.view.clone());
    let (stopper, stop) = watch::channel(false);
    let callers = Callers::default();
    let readings = Readings::default();
    let mut wiring = Wiring {
        engine: engine.clone(),
        metrics: metrics.clone(),
        readings: readings.clone(),
        tasks: Tasks::default(),
        stop,
        issuing: None,
    };

    let (broker, prepared) = tokio::select! {
        prepared = prepare(broker, mode) => prepared?,
        signal = signals.next() => return leave(wiring.tasks, &stopper, (signal, signals)).await,
    };
    let known = Arc::new(OnceLock::new());
    let pages = Pages {
        engine: engine.clone(),
        registry: Arc::new(registry),
        callers: callers.clone(),
        readings,
        in_cluster: prepared.in_cluster(),
        known: Arc::clone(&known),
        issued: None,
    };
    let service = Autoscaler::new(engine, metrics, callers);
    let addresses = listen(&mut wiring, (grpc, service), (admin, pages)).await?;
    announce(addresses, &broker, ports_file)?;

    let mut started = tokio::select! {
        started = prepared.start(policy, &broker, &mut wiring) => started?,
        signal = signals.next() => return leave(wiring.tasks, &stopper, (signal, signals)).await,
    };
    // Set once, here.
    let _ = known.set(Known {
        coordinator_key: started.key.public().to_string(),
        cloud_config: started.cloud_config.take(),
        lab: started.lab.clone(),
    });
    work(&mut wiring, seat, started, broker.options());
    tokio::select! {
        fault = wiring.tasks.first_end() => Err(fault.into()),
        signal = signals.next() => leave(wiring.tasks, &stopper, (signal, signals)).await,
    }
}

/// Starts the engine with what the mode has brought, and the connection that feeds it.
fn work(wiring: &mut Wiring, seat: Seat, started: Started, options: LinkOptions) {
    let (line, present_line) = watch::channel(None);
    let outputs = Routes {
        commands: Box::new(Commands::new(
            present_line,
            (started.key, started.mandate),
            wiring.engine.facts.clone(),
            wiring.metrics.clone(),
        )),
        mode: started.outputs,
    };
    let core = Lab::new(started.seed, started.policy);
    let engine = seat.take(core, outputs).run();
    wiring.tasks.spawn_endless("engine", engine);
    connect(wiring, options, line, started.leader);
}

/// Everything that is read, opened or started before somebody may be told that this process is there.
async fn prepare(broker: BrokerSettings, mode: Mode) -> Result<(Broker, Prepared), RunFault> {
    let broker = Broker::start(broker).await?;
    Ok((broker, Prepared::new(mode).await?))
}

/// Binds both listeners and serves them. Until the engine runs, the one is not ready and the other Unavailable.
async fn listen(
    wiring: &mut Wiring,
    (settings, service): (GrpcSettings, Autoscaler),
    (admin, mut pages): (SocketAddr, Pages),
) -> Result<[SocketAddr; 2], RunFault> {
    let grpc = autoscaler::listen(&settings, service)
        .await
        .map_err(|fault| match fault {
            ServeFault::Tls(_) => RunFault::configuration(fault),
            ServeFault::Listen { .. } | ServeFault::Serve(_) => RunFault::start(fault),
        })?;
    let admin = admin::listen(admin).await.map_err(RunFault::start)?;
    let addresses = [grpc.address(), admin.address()];
    pages.issued = grpc.issued();
    if let (GrpcSecurity::Issued { names }, Some(tls)) = (settings.security, grpc.issued()) {
        wiring.issuing = Some(Issuing {
            tls,
            names,
            port: grpc.address().port(),
        });
    }
    wiring.tasks.spawn(
        "admin",
        Ends::Never,
        admin.serve(pages, std::future::pending()),
    );
    let served = grpc.serve(stopped(wiring.stop.clone()));
    wiring.tasks.spawn("grpc", Ends::AfterStop, served);
    Ok(addresses)
}

/// Starts the connection to the agents' broker.
fn connect(
    wiring: &mut Wiring,
    options: LinkOptions,
    line: watch::Sender<Option<LinkHandle>>,
    leader: String,
) {
    let connection = reports::Connection {
        options: reports::options(options, &leader),
        line,
        metrics: wiring.metrics.clone(),
        readings: wiring.readings.clone(),
    };
    let (engine, stop) = (wiring.engine.clone(), wiring.stop.clone());
    wiring.tasks.spawn("reports", Ends::AfterStop, async move {
        reports::run(engine, connection, &leader, stop).await
    });
}

/// Says where everything listens, in the log and in the ports file.
fn announce(
    [grpc, admin]: [SocketAddr; 2],
    broker: &Broker,
    file: Option<PathBuf>,
) -> Result<(), RunFault> {
    let url = broker.url().to_string();
    tracing::info!(%grpc, %admin, broker = url, "listening");
    let Some(path) = file else { return Ok(()) };
    let ports = json!({"grpc": grpc.to_string(), "admin": admin.to_string(), "broker": url});
    write_whole(&path, &format!("{ports}\n")).map_err(|source| RunFault::PortsFile { path, source })
}

/// Whoever waits for the file must never read half of it.
fn write_whole(path: &PathBuf, text: &str) -> io::Result<()> {
    let mut draft = path.clone().into_os_string();
    draft.push(".new");
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

/// Stops in order; at once if another signal comes meanwhile.
async fn leave(
    tasks: Tasks,
    stopper: &watch::Sender<bool>,
    (signal, mut signals): (&'static str, Signals),
) -> Result<(), RunFault> {
    tracing::info!(signal, "stopping");
    stopper.send_replace(true);
    tasks.finish(FAREWELL, signals.next()).await?;
    tracing::info!("stopped");
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the process is ending anyway.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
