//! Which process of how many this one is, as the launcher that started it says through environment variables.
//!
//! Variables that are there by half or contradict one another are errors: a process that guesses wrong waits for
//! others that never come, or overwrites what they write.

use std::fmt;

use psann_core::Result;

use super::environment::{Variables, wrong};
use super::lifeline;
use super::slurm;

/// The port of torchrun's convention.
pub const DEFAULT_PORT: u16 = 29_500;

pub(super) const LOOPBACK: &str = "127.0.0.1";

/// Who started this process and told it its rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// Nobody: it works alone, or starts the others itself.
    Nobody,
    /// [`launch`](super::launch).
    Psann,
    /// torchrun, or whatever else sets torch's variables (a Kubernetes PyTorchJob, a person).
    Torch,
    /// Slurm's `srun`.
    Slurm,
    /// `mpirun` or `mpiexec`.
    Mpi,
    /// A Kubernetes Job with `completionMode: Indexed`.
    IndexedJob,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "no launcher",
            Self::Psann => "psann",
            Self::Torch => "torchrun or its variables",
            Self::Slurm => "Slurm",
            Self::Mpi => "MPI",
            Self::IndexedJob => "an indexed Job",
        })
    }
}

/// The processes of a run, seen from one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// This process among all, from 0.
    pub rank: usize,
    /// All processes.
    pub size: usize,
    /// This process among those of its node, from 0.
    pub local_rank: usize,
    /// The processes of its node.
    pub local_size: usize,
    /// Its node among all, from 0 (torchrun's group rank).
    pub node: usize,
    /// The host of the store where processes meet.
    pub address: String,
    /// The port of that store.
    pub port: u16,
    /// How often all processes were started again.
    pub restart: u32,
    /// Names the run among others; equal in all its processes and over restarts.
    pub run_id: String,
    /// Whether the launcher hosts the store, so that rank 0 is a client like all others.
    pub agent_store: bool,
    /// Who said all this.
    pub launcher: Launcher,
}

impl World {
    /// One process that nobody started as one of several.
    pub fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            local_rank: 0,
            local_size: 1,
            node: 0,
            address: LOOPBACK.into(),
            port: DEFAULT_PORT,
            restart: 0,
            run_id: "alone".into(),
            agent_store: false,
            launcher: Launcher::Nobody,
        }
    }

    /// Reads the variables of torchrun, `mpirun`, Slurm and indexed Jobs, in this order: who starts processes within
    /// a Slurm step or a Job knows better than Slurm or the Job.
    ///
    /// # Errors
    /// When variables are missing, are no numbers, or contradict one another.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let variables = Variables(lookup);
        let launchers: [&Reader; 5] =
            [&torch, &|v| mpi(v, &OPEN_MPI), &slurm::world, &|v| mpi(v, &MPICH), &indexed_job];
        for launcher in launchers {
            if let Some(world) = launcher(variables)? {
                return Ok(world);
            }
        }
        Ok(Self::alone())
    }

    /// Whether this process hosts the store.
    pub fn hosts_store(&self) -> bool {
        self.rank == 0 && !self.agent_store
    }

    /// What keys in the store start with, so that processes never read what those before a restart wrote.
    pub fn store_prefix(&self) -> String {
        format!("psann/{}/{}", self.run_id, self.restart)
    }

    /// The variables from which [`from_environment`](Self::from_environment) reads this world back.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("RANK", self.rank.to_string()),
            ("WORLD_SIZE", self.size.to_string()),
            ("LOCAL_RANK", self.local_rank.to_string()),
            ("LOCAL_WORLD_SIZE", self.local_size.to_string()),
            ("GROUP_RANK", self.node.to_string()),
            ("MASTER_ADDR", self.address.clone()),
            ("MASTER_PORT", self.port.to_string()),
            ("TORCHELASTIC_RESTART_COUNT", self.restart.to_string()),
            ("TORCHELASTIC_RUN_ID", self.run_id.clone()),
            ("TORCHELASTIC_USE_AGENT_STORE", if self.agent_store { "True" } else { "False" }.into()),
        ]
    }
}

/// Reads the variables of one launcher; `None` where it started nothing.
type Reader = dyn Fn(Variables<'_>) -> Result<Option<World>>;

/// torchrun's variables. A PyTorchJob sets the first four only: one process a pod.
fn torch(variables: Variables<'_>) -> Result<Option<World>> {
    let job_index = variables.has("JOB_COMPLETION_INDEX");
    let Some(rank) = variables.number("RANK")? else {
        for name in ["LOCAL_RANK", "WORLD_SIZE"] {
            // In an indexed Job the rank is the pod's index.
            if variables.has(name) && !(job_index && name == "WORLD_SIZE") {
                return Err(variables.missing("RANK", name));
            }
        }
        return Ok(None);
    };
    let launcher = if variables.has(lifeline::VARIABLE) { Launcher::Psann } else { Launcher::Torch };
    let size = variables.required("WORLD_SIZE", "RANK")?;
    let place = Place {
        rank,
        size,
        local_rank: variables.number("LOCAL_RANK")?,
        local_size: variables.number("LOCAL_WORLD_SIZE")?,
    };
    let names = Names { rank: "RANK", size: "WORLD_SIZE", local_rank: "LOCAL_RANK", local_size: "LOCAL_WORLD_SIZE" };
    let mut world = assemble(variables, launcher, &place, &names)?;
    if let Some(node) = variables.number("GROUP_RANK")? {
        world.node = node;
    }
    world.restart = variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0);
    world.run_id = variables.text("TORCHELASTIC_RUN_ID").unwrap_or_else(|| "torch".into());
    world.agent_store = match variables.text("TORCHELASTIC_USE_AGENT_STORE").as_deref() {
        Some("True") => true,
        None | Some("False") => false,
        Some(other) => return Err(wrong("TORCHELASTIC_USE_AGENT_STORE", other, "`True` or `False`")),
    };
    Ok(Some(world))
}

const OPEN_MPI: Names = Names {
    rank: "OMPI_COMM_WORLD_RANK",
    size: "OMPI_COMM_WORLD_SIZE",
    local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
    local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
};

/// Also of Intel MPI. Slurm sets the first two as well when asked for `--mpi=pmi2`, and knows more beside them.
const MPICH: Names =
    Names { rank: "PMI_RANK", size: "PMI_SIZE", local_rank: "MPI_LOCALRANKID", local_size: "MPI_LOCALNRANKS" };

fn mpi(variables: Variables<'_>, names: &Names) -> Result<Option<World>> {
    let Some(rank) = variables.number(names.rank)? else {
        return if variables.has(names.size) { Err(variables.missing(names.rank, names.size)) } else { Ok(None) };
    };
    let place = Place {
        rank,
        size: variables.required(names.size, names.rank)?,
        local_rank: variables.number(names.local_rank)?,
        local_size: variables.number(names.local_size)?,
    };
    if place.size == 1 && rank == 0 {
        return Ok(None);
    }
    let mut world = assemble(variables, Launcher::Mpi, &place, names)?;
    world.run_id = "mpi".into();
    Ok(Some(world))
}

/// An indexed Job whose pod template says `WORLD_SIZE` and `MASTER_ADDR`: one process a pod. Without both the pods of
/// the Job have nothing to do with one another.
fn indexed_job(variables: Variables<'_>) -> Result<Option<World>> {
    const INDEX: &str = "JOB_COMPLETION_INDEX";
    let Some(rank) = variables.number(INDEX)? else { return Ok(None) };
    if !variables.has("WORLD_SIZE") && !variables.has("MASTER_ADDR") {
        return Ok(None);
    }
    let size = variables.required("WORLD_SIZE", INDEX)?;
    if !variables.has("MASTER_ADDR") && size > 1 {
        return Err(variables.missing("MASTER_ADDR", INDEX));
    }
    let place = Place { rank, size, local_rank: Some(0), local_size: Some(1) };
    let names = Names { rank: INDEX, size: "WORLD_SIZE", local_rank: "LOCAL_RANK", local_size: "LOCAL_WORLD_SIZE" };
    let mut world = assemble(variables, Launcher::IndexedJob, &place, &names)?;
    world.run_id = "job".into();
    Ok(Some(world))
}

/// What a launcher calls what it says.
struct Names {
    rank: &'static str,
    size: &'static str,
    local_rank: &'static str,
    local_size: &'static str,
}

struct Place {
    rank: usize,
    size: usize,
    local_rank: Option<usize>,
    local_size: Option<usize>,
}

/// Checks a place and fills in what the launcher left out.
fn assemble(variables: Variables<'_>, launcher: Launcher, place: &Place, names: &Names) -> Result<World> {
    let Place { rank, size, .. } = *place;
    if size == 0 {
        return Err(wrong(names.size, size, "a whole number from 1"));
    }
    if rank >= size {
        return Err(wrong(names.rank, rank, format!("less than `{}`, which is `{size}`", names.size)));
    }
    let address = variables.text("MASTER_ADDR");
    let here = matches!(address.as_deref(), Some(LOOPBACK | "localhost" | "::1"));
    let (local_rank, local_size) = match (place.local_rank, place.local_size) {
        (Some(local_rank), Some(local_size)) => (local_rank, local_size),
        (None, Some(_)) => return Err(variables.missing(names.local_rank, names.local_size)),
        (Some(_), None) => return Err(variables.missing(names.local_size, names.local_rank)),
        // A store that is reached on this machine alone has all processes on this machine.
        (None, None) if here => (rank, size),
        (None, None) => (0, 1),
    };
    if local_size == 0 || local_size > size {
        return Err(wrong(names.local_size, local_size, format!("1 to `{}`, which is `{size}`", names.size)));
    }
    if local_rank >= local_size {
        let expected = format!("less than `{}`, which is `{local_size}`", names.local_size);
        return Err(wrong(names.local_rank, local_rank, expected));
    }
    let address = match address {
        Some(address) => address,
        None if local_size == size => LOOPBACK.into(),
        None => return Err(variables.missing("MASTER_ADDR", names.rank)),
    };
    let port = variables.port()?.unwrap_or(DEFAULT_PORT);
    // Ranks fill one node after the other unless the launcher says which node this is.
    let node = rank / local_size;
    Ok(World { rank, size, local_rank, local_size, node, address, port, launcher, ..World::alone() })
}

#[cfg(test)]
mod tests;
