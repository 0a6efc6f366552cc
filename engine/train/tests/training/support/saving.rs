//! Sharders with weights, saved without a run around them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use psann_core::plan::Component;
use psann_core::registry::Kind as PluginKind;
use psann_core::sharder::Placement;
use psann_core::tokens::{Cursor, RowCursor};
use psann_core::{Collective, Model, Optimizer, Sharder, registry};
use psann_train::checkpoint::{Checkpoints, Content, State, VERSION};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// Every tensor of a rank's shards and states with the row it begins at.
pub type Held = BTreeMap<String, (i64, Tensor)>;

/// A sharder over `group` with room for the weights of `model`.
pub fn installed(group: &Arc<dyn Collective>, options: &Value, model: &dyn Model) -> Box<dyn Sharder> {
    let placement = Placement { ranks: Arc::clone(group), ..Placement::alone(Device::Cpu, Kind::Float) };
    let mut sharder = registry::sharder("fsdp", options, placement).unwrap();
    sharder.install(model.segments()).unwrap();
    sharder
}

/// What a run of [`large_options`] would say of itself.
pub fn state() -> State {
    State {
        version: VERSION,
        step: 2,
        tokens: 0,
        loss: 1.0,
        seed: 1,
        updates: 2,
        left_out: Vec::new(),
        guard: Value::Null,
        cursor: Cursor::default(),
        model: Component { kind: PluginKind::Model, name: "waveresnet".into(), options: large_options() },
        identity: Value::Null,
        files: BTreeMap::new(),
    }
}

/// Matrices that are large enough for 8-bit states, and counts that no number of ranks divides.
pub fn large_options() -> Value {
    json!({ "vocab": 101, "d_model": 48, "n_layers": 2, "n_heads": 2, "d_mlp": 90, "dropout": 0.0 })
}

/// What a rank would save.
pub fn held(sharder: &mut dyn Sharder, optimizer: &dyn Optimizer) -> Held {
    let content = Content::of(sharder, optimizer).unwrap();
    content
        .model
        .iter()
        .chain(&content.optimizer)
        .map(|rows| (rows.name.clone(), (rows.first, rows.tensor.copy())))
        .collect()
}

/// Saves what a rank holds as step `step` of a run with a row for each rank.
pub fn save(
    checkpoints: &Checkpoints,
    group: &dyn Collective,
    sharder: &mut dyn Sharder,
    optimizer: &dyn Optimizer,
    step: u64,
) -> PathBuf {
    let row = RowCursor { row: group.rank() as u64, ..RowCursor::default() };
    let cursor = Cursor::new(step, step, Vec::new(), vec![row]);
    let content = Content::of(sharder, optimizer).unwrap();
    checkpoints.save(&State { step, cursor, ..state() }, content, group).unwrap()
}

/// Opens the checkpoints in `folder` for [`save`].
pub fn open(folder: &Path, group: &Arc<dyn Collective>) -> Checkpoints {
    Checkpoints::open(folder, 2, group.as_ref()).unwrap()
}
