//! What Slurm tells a task: its rank, its node, and a list of hosts of which the first hosts the store.
//!
//! Shells in an allocation carry most of the same variables. The script of `sbatch` even is "task 0 of 8", though
//! nobody started the other seven. Only a step (`srun`) starts tasks, so only a step's variables count.

use psann_core::Result;

use super::environment::{Variables, wrong};
use super::hosts;
use super::world::{LOOPBACK, Launcher, World};

/// Steps from here on are no `srun`: 0xfffffffa is an interactive shell, 0xfffffffb the script of `sbatch`.
const FIRST_SPECIAL_STEP: u64 = 0xffff_fff0;

/// Ports are taken from `FIRST_PORT..FIRST_PORT + PORTS`, below the range from which systems pick their own.
const FIRST_PORT: u64 = 20_000;
const PORTS: u64 = 10_000;

/// The world of a task of a step with several tasks; `None` where Slurm started this process alone, or not at all.
pub fn world(variables: Variables<'_>) -> Result<Option<World>> {
    let Some(rank) = variables.number::<usize>("SLURM_PROCID")? else { return Ok(None) };
    if !in_step(variables)? {
        return Ok(None);
    }
    let tasks = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"];
    let Some(counted) = tasks.into_iter().find(|name| variables.has(name)) else {
        return Err(variables.missing("SLURM_NTASKS", "SLURM_PROCID"));
    };
    let size: usize = variables.required(counted, "SLURM_PROCID")?;
    if size == 1 && rank == 0 {
        return Ok(None);
    }
    if rank >= size {
        return Err(wrong("SLURM_PROCID", rank, format!("less than `{counted}`, which is `{size}`")));
    }
    let list_name =
        ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"].into_iter().find(|name| variables.has(name));
    let hosts = match list_name {
        Some(name) => {
            hosts::expand(&variables.text(name).unwrap_or_default()).map_err(|e| e.within(format!("`{name}`")))?
        }
        None => Vec::new(),
    };
    let local_rank = variables.required("SLURM_LOCALID", "SLURM_PROCID")?;
    let (node, local_size) = node(variables, rank, size, hosts.len())?;
    if local_rank >= local_size {
        return Err(wrong("SLURM_LOCALID", local_rank, format!("less than {local_size}, the tasks of this node")));
    }
    let address = match variables.text("MASTER_ADDR") {
        Some(address) => address,
        None if local_size == size => LOOPBACK.into(),
        None => hosts.into_iter().next().ok_or_else(|| variables.missing("SLURM_JOB_NODELIST", "SLURM_PROCID"))?,
    };
    let job = ["SLURM_JOB_ID", "SLURM_JOBID"].into_iter().find(|name| variables.has(name));
    let step = step(variables)?.unwrap_or(0);
    let port = match (variables.port()?, job) {
        (Some(port), _) => port,
        (None, Some(job)) => port(variables.required(job, "SLURM_PROCID")?, step),
        (None, None) => return Err(variables.missing("SLURM_JOB_ID", "SLURM_PROCID")),
    };
    Ok(Some(World {
        rank,
        size,
        local_rank,
        local_size,
        node,
        address,
        port,
        restart: variables.number("SLURM_RESTART_COUNT")?.unwrap_or(0),
        run_id: format!("slurm-{}.{step}", job.and_then(|name| variables.text(name)).unwrap_or_default()),
        agent_store: false,
        launcher: Launcher::Slurm,
    }))
}

/// Whether a step started this process, rather than a shell in an allocation.
fn in_step(variables: Variables<'_>) -> Result<bool> {
    Ok(match step(variables)? {
        Some(step) => step < FIRST_SPECIAL_STEP,
        // Both `sbatch` and `salloc` say from where they were called. Variables without that were set by hand.
        None => !variables.has("SLURM_SUBMIT_DIR") && !variables.has("SLURM_SUBMIT_HOST"),
    })
}

fn step(variables: Variables<'_>) -> Result<Option<u64>> {
    match variables.number("SLURM_STEP_ID")? {
        Some(step) => Ok(Some(step)),
        None => variables.number("SLURM_STEPID"),
    }
}

/// The node's place and its number of tasks.
fn node(variables: Variables<'_>, rank: usize, size: usize, hosts: usize) -> Result<(usize, usize)> {
    let given: Option<usize> = variables.number("SLURM_NODEID")?;
    for name in ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"] {
        let Some(text) = variables.text(name) else { continue };
        let tasks = tasks_per_node(&text).ok_or_else(|| wrong(name, &text, "tasks of each node, as in `4(x2),3`"))?;
        if tasks.iter().sum::<usize>() != size {
            return Err(wrong(name, &text, format!("{size} tasks in all")));
        }
        let node = given.unwrap_or_else(|| node_of(rank, &tasks));
        let here = tasks.get(node).copied();
        return here
            .map(|here| (node, here))
            .ok_or_else(|| wrong("SLURM_NODEID", node, format!("less than {}, the nodes in `{name}`", tasks.len())));
    }
    if let Some(per_node) = variables.number::<usize>("SLURM_NTASKS_PER_NODE")? {
        if per_node == 0 {
            return Err(wrong("SLURM_NTASKS_PER_NODE", per_node, "a whole number from 1"));
        }
        let node = given.unwrap_or(rank / per_node);
        // The last node may be left with fewer.
        let rest = size.saturating_sub(node * per_node);
        return Ok((node, if rest == 0 { per_node } else { rest.min(per_node) }));
    }
    match hosts {
        0 | 1 => Ok((given.unwrap_or(0), size)),
        _ if hosts == size => Ok((given.unwrap_or(rank), 1)),
        _ => Err(variables.missing("SLURM_NTASKS_PER_NODE", "SLURM_PROCID")),
    }
}

/// The node of a rank where ranks fill one node after the other.
fn node_of(rank: usize, tasks: &[usize]) -> usize {
    let ends = tasks.iter().scan(0, |end, tasks| {
        *end += tasks;
        Some(*end)
    });
    ends.take_while(|end| *end <= rank).count()
}

/// `4(x2),3` as `[4, 4, 3]`; `None` when it is something else.
fn tasks_per_node(text: &str) -> Option<Vec<usize>> {
    let mut nodes = Vec::new();
    for part in text.split(',') {
        let (tasks, times) = match part.split_once("(x") {
            Some((tasks, times)) => (tasks, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        let tasks: usize = tasks.parse().ok()?;
        if times > 1 << 16 || tasks > 1 << 16 {
            return None;
        }
        nodes.extend(std::iter::repeat_n(tasks, times));
    }
    Some(nodes)
}

/// A port that all tasks agree on without talking, and that two steps of a job, or neighbouring jobs, do not share.
fn port(job: u64, step: u64) -> u16 {
    // A prime apart, so that step 1 of this job is not step 0 of the next.
    (FIRST_PORT + (job % PORTS + step % PORTS * 101) % PORTS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_nodes_are_read_as_slurm_writes_them() {
        assert_eq!(tasks_per_node("2"), Some(vec![2]));
        assert_eq!(tasks_per_node("4(x2),3"), Some(vec![4, 4, 3]));
        for wrong in ["", "a", "4(x", "4(x2", "4(xb)", "1(x99999999)", "-1"] {
            assert_eq!(tasks_per_node(wrong), None, "{wrong}");
        }
        assert_eq!([0, 3, 4, 8, 10].map(|rank| node_of(rank, &[4, 4, 3])), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn the_port_follows_from_job_and_step_and_stays_below_the_systems_own() {
        assert_eq!(port(123, 0), 20_123);
        assert_ne!(port(123, 0), port(123, 1));
        assert!((0..100_000).all(|job| (20_000..30_000).contains(&port(job, job % 7))));
        assert!((20_000..30_000).contains(&port(u64::MAX, u64::MAX)));
    }
}
