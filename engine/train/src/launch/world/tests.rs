//! Environments as launchers set them, and what they say.

use super::*;

fn read(environment: &str) -> Result<World> {
    let table: Vec<(&str, &str)> = environment.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
    World::from_environment(&|name| table.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

/// `rank/size local_rank/local_size node address:port restart run_id launcher`.
fn check(environment: &str, expect: &str) {
    let w = read(environment).unwrap();
    let (place, local) = (format!("{}/{}", w.rank, w.size), format!("{}/{}", w.local_rank, w.local_size));
    let found =
        format!("{place} {local} {} {}:{} {} {} {:?}", w.node, w.address, w.port, w.restart, w.run_id, w.launcher);
    assert_eq!(found, expect, "{environment}");
}

fn check_error(environment: &str, expect: &str) {
    let error = read(environment).unwrap_err();
    assert_eq!(error.to_string(), expect, "{environment}");
    assert!(error.hint_text().is_some());
    assert_eq!(error.fault(), psann_core::error::Fault::Usage);
}

const ALONE: &str = "0/1 0/1 0 127.0.0.1:29500 0 alone Nobody";

#[test]
fn a_process_that_nobody_launched_is_alone() {
    check("", ALONE);
    check("HOME=/root MASTER_ADDR=a MASTER_PORT=1", ALONE);
    check("RANK= WORLD_SIZE=", ALONE);
    assert_eq!(read("").unwrap(), World::alone());
}

#[test]
fn torchrun_says_everything() {
    let torchrun = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 MASTER_ADDR=node0 MASTER_PORT=1234 \
                    TORCHELASTIC_RESTART_COUNT=2 TORCHELASTIC_RUN_ID=night";
    check(torchrun, "5/8 1/4 1 node0:1234 2 night Torch");
    assert!(!read(torchrun).unwrap().agent_store);
    let agent = read(&format!("{torchrun} TORCHELASTIC_USE_AGENT_STORE=True")).unwrap();
    assert!(agent.agent_store && !agent.hosts_store());
    assert_eq!(agent.store_prefix(), "psann/night/2");
    check("RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1", "0/1 0/1 0 127.0.0.1:29500 0 torch Torch");
}

#[test]
fn the_four_variables_alone_mean_one_process_a_pod_or_all_on_this_machine() {
    check(
        "RANK=1 WORLD_SIZE=3 MASTER_ADDR=job-master-0 MASTER_PORT=23456",
        "1/3 0/1 1 job-master-0:23456 0 torch Torch",
    );
    check("RANK=1 WORLD_SIZE=3 MASTER_ADDR=localhost", "1/3 1/3 0 localhost:29500 0 torch Torch");
    assert!(read("RANK=0 WORLD_SIZE=3 MASTER_ADDR=localhost").unwrap().hosts_store());
}

#[test]
fn our_own_launcher_is_read_back_as_it_was_written() {
    let world = World { rank: 1, size: 2, local_rank: 1, local_size: 2, restart: 3, ..World::alone() };
    let variables = world.variables();
    let lookup = |name: &str| match name {
        lifeline::VARIABLE => Some("5".to_owned()),
        _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone()),
    };
    assert_eq!(World::from_environment(&lookup).unwrap(), World { launcher: Launcher::Psann, ..world });
}

#[test]
fn tasks_of_a_slurm_step() {
    let step =
        "SLURM_JOB_ID=777 SLURM_STEP_ID=0 SLURM_SUBMIT_DIR=/home/me SLURM_NTASKS=8 SLURM_JOB_NODELIST=gpu[07-08]";
    let task = |more: &str| format!("{step} {more}");
    let expect = "5/8 1/4 1 gpu07:20777 0 slurm-777.0 Slurm";
    check(&task("SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NODEID=1 SLURM_STEP_TASKS_PER_NODE=4(x2)"), expect);
    check(&task("SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_TASKS_PER_NODE=4(x2)"), expect);
    check(&task("SLURM_PROCID=5 SLURM_LOCALID=1 SLURM_NTASKS_PER_NODE=4"), expect);
    // Uneven nodes, ranks dealt out in turn, a step on other nodes than the job's, an address the script chose.
    check(
        &task("SLURM_PROCID=7 SLURM_LOCALID=2 SLURM_TASKS_PER_NODE=5,3"),
        "7/8 2/3 1 gpu07:20777 0 slurm-777.0 Slurm",
    );
    check(
        &task("SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NODEID=1 SLURM_TASKS_PER_NODE=4(x2)"),
        "1/8 0/4 1 gpu07:20777 0 slurm-777.0 Slurm",
    );
    check(
        &task(
            "SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_TASKS_PER_NODE=4(x2) SLURM_STEP_NODELIST=gpu[08-09] MASTER_PORT=99",
        ),
        "0/8 0/4 0 gpu08:99 0 slurm-777.0 Slurm",
    );
    check(
        &task("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_TASKS_PER_NODE=4(x2) MASTER_ADDR=10.0.0.1 SLURM_RESTART_COUNT=1"),
        "0/8 0/4 0 10.0.0.1:20777 1 slurm-777.0 Slurm",
    );
    // A step with fewer tasks than its job.
    check(
        &task("SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_STEP_NODELIST=gpu07"),
        "1/2 1/2 0 127.0.0.1:20777 0 slurm-777.0 Slurm",
    );
    // Variables that a person set, as to try it out.
    check(
        "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LOCALID=0 SLURM_JOB_NODELIST=localhost SLURM_JOB_ID=5",
        "0/2 0/2 0 127.0.0.1:20005 0 slurm-5.0 Slurm",
    );
}

#[test]
fn shells_in_a_slurm_allocation_and_single_tasks_are_alone() {
    let job = "SLURM_JOB_ID=777 SLURM_SUBMIT_DIR=/home/me SLURM_NTASKS=8 SLURM_JOB_NODELIST=gpu[07-08] SLURM_TASKS_PER_NODE=4(x2)";
    let of_job = |more: &str| format!("{job} {more}");
    check(job, ALONE); // salloc on the login node
    check(&of_job("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0"), ALONE); // the script of sbatch
    check(&of_job("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_ID=4294967290"), ALONE); // salloc's interactive step
    check(&of_job("SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_ID=3 SLURM_STEP_NUM_TASKS=1"), ALONE); // srun --pty bash
    check("SLURM_JOB_ID=7 SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0 SLURM_JOB_NODELIST=gpu1", ALONE);
    // torchrun and our own launcher inside of a step.
    check(
        &of_job("SLURM_STEP_ID=0 SLURM_PROCID=1 RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=gpu07"),
        "3/4 1/2 1 gpu07:29500 0 torch Torch",
    );
}

#[test]
fn processes_of_mpirun() {
    let open_mpi =
        "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_LOCAL_RANK=1 OMPI_COMM_WORLD_LOCAL_SIZE=2";
    check(&format!("{open_mpi} MASTER_ADDR=a"), "3/4 1/2 1 a:29500 0 mpi Mpi");
    check_error(open_mpi, "`OMPI_COMM_WORLD_RANK` is `3`, but `MASTER_ADDR` is not set");
    let mpich = "PMI_RANK=1 PMI_SIZE=2 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2";
    check(mpich, "1/2 1/2 0 127.0.0.1:29500 0 mpi Mpi");
    check("PMI_RANK=0 PMI_SIZE=1", ALONE);
    // `srun --mpi=pmi2` sets these beside Slurm's, which say more.
    let step = "SLURM_STEP_ID=0 SLURM_JOB_ID=1 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_LOCALID=1 SLURM_JOB_NODELIST=a";
    check(&format!("{mpich} {step}"), "1/2 1/2 0 127.0.0.1:20001 0 slurm-1.0 Slurm");
    check_error("PMI_SIZE=2", "`PMI_SIZE` is `2`, but `PMI_RANK` is not set");
}

#[test]
fn pods_of_an_indexed_job() {
    check("JOB_COMPLETION_INDEX=2", ALONE);
    check(
        "JOB_COMPLETION_INDEX=2 WORLD_SIZE=4 MASTER_ADDR=train-0.train",
        "2/4 0/1 2 train-0.train:29500 0 job IndexedJob",
    );
    check_error(
        "JOB_COMPLETION_INDEX=2 MASTER_ADDR=train-0.train",
        "`JOB_COMPLETION_INDEX` is `2`, but `WORLD_SIZE` is not set",
    );
    check_error("JOB_COMPLETION_INDEX=2 WORLD_SIZE=4", "`JOB_COMPLETION_INDEX` is `2`, but `MASTER_ADDR` is not set");
    check_error(
        "JOB_COMPLETION_INDEX=4 WORLD_SIZE=4 MASTER_ADDR=a",
        "`JOB_COMPLETION_INDEX` is `4`, expected less than `WORLD_SIZE`, which is `4`",
    );
}

#[test]
fn half_an_environment_is_an_error_that_names_the_other_half() {
    check_error("RANK=0", "`RANK` is `0`, but `WORLD_SIZE` is not set");
    check_error("WORLD_SIZE=2", "`WORLD_SIZE` is `2`, but `RANK` is not set");
    check_error("LOCAL_RANK=0", "`LOCAL_RANK` is `0`, but `RANK` is not set");
    check_error("RANK=0 WORLD_SIZE=2", "`RANK` is `0`, but `MASTER_ADDR` is not set");
    check_error(
        "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=a",
        "`LOCAL_RANK` is `0`, but `LOCAL_WORLD_SIZE` is not set",
    );
    check_error("SLURM_PROCID=1", "`SLURM_PROCID` is `1`, but `SLURM_NTASKS` is not set");
    check_error("SLURM_PROCID=1 SLURM_NTASKS=2", "`SLURM_PROCID` is `1`, but `SLURM_LOCALID` is not set");
    check_error(
        "SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_LOCALID=1",
        "`SLURM_PROCID` is `1`, but `SLURM_JOB_ID` is not set",
    );
    check_error(
        "SLURM_PROCID=1 SLURM_NTASKS=4 SLURM_LOCALID=1 SLURM_JOB_ID=1 SLURM_JOB_NODELIST=a[1-2]",
        "`SLURM_PROCID` is `1`, but `SLURM_NTASKS_PER_NODE` is not set",
    );
    let hint = read("RANK=0").unwrap_err().hint_text().unwrap().to_owned();
    assert_eq!(
        hint,
        "a launcher sets both; set `WORLD_SIZE` too, or unset `RANK` to let psann start its own processes"
    );
}

#[test]
fn contradictions_are_errors_that_name_value_and_expectation() {
    check_error("RANK=x WORLD_SIZE=2", "`RANK` is `x`, expected a whole number from 0");
    check_error("RANK=-1 WORLD_SIZE=2", "`RANK` is `-1`, expected a whole number from 0");
    check_error("RANK=2 WORLD_SIZE=2", "`RANK` is `2`, expected less than `WORLD_SIZE`, which is `2`");
    check_error("RANK=0 WORLD_SIZE=0", "`WORLD_SIZE` is `0`, expected a whole number from 1");
    check_error(
        "RANK=0 WORLD_SIZE=2 LOCAL_RANK=2 LOCAL_WORLD_SIZE=2",
        "`LOCAL_RANK` is `2`, expected less than `LOCAL_WORLD_SIZE`, which is `2`",
    );
    check_error(
        "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=3",
        "`LOCAL_WORLD_SIZE` is `3`, expected 1 to `WORLD_SIZE`, which is `2`",
    );
    let two = "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a";
    check_error(&format!("{two} MASTER_PORT=0"), "`MASTER_PORT` is `0`, expected a port from 1 to 65535");
    check_error(&format!("{two} MASTER_PORT=70000"), "`MASTER_PORT` is `70000`, expected a port from 1 to 65535");
    check_error(
        &format!("{two} TORCHELASTIC_USE_AGENT_STORE=yes"),
        "`TORCHELASTIC_USE_AGENT_STORE` is `yes`, expected `True` or `False`",
    );
    let slurm = "SLURM_STEP_ID=0 SLURM_JOB_ID=1 SLURM_LOCALID=0 SLURM_JOB_NODELIST=a[1-2]";
    check_error(
        &format!("{slurm} SLURM_PROCID=2 SLURM_NTASKS=2"),
        "`SLURM_PROCID` is `2`, expected less than `SLURM_NTASKS`, which is `2`",
    );
    check_error(
        &format!("{slurm} SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_TASKS_PER_NODE=3(x2)"),
        "`SLURM_TASKS_PER_NODE` is `3(x2)`, expected 4 tasks in all",
    );
    check_error(
        &format!("{slurm} SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_TASKS_PER_NODE=2(x2) SLURM_NODEID=2"),
        "`SLURM_NODEID` is `2`, expected less than 2, the nodes in `SLURM_TASKS_PER_NODE`",
    );
    check_error(
        "SLURM_STEP_ID=0 SLURM_JOB_ID=1 SLURM_LOCALID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_NODELIST=a[1-",
        "`SLURM_JOB_NODELIST`: `a[1-` is no list of hosts: `[` is not closed",
    );
}
