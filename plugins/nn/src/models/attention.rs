//! Attention in passes without gradients, for all models: keys and values of each sequence, kept in its cache.

use psann_core::Result;
use psann_core::pass::{Pass, Past};
use psann_torch::inference::{self, Keys};
use tch::{Kind, Tensor};

/// The least number of positions that a cache has room for.
const ROOM: i64 = 256;

/// Where a segment's keys and values stand among the tensors of its cache.
pub const KEYS: usize = 0;
/// See [`KEYS`].
pub const VALUES: usize = 1;

/// Attention of q `[tokens, heads, size]` to k and v `[tokens, kv_heads, size]` of the same pass and to what came before
/// them; remembers k and v for runs that have a cache. Scores are divided by the square root of `size`, and reduced by
/// `slopes` `[heads]` for each position of distance. Gives `[tokens, heads, size]`.
///
/// # Errors
/// When shapes do not fit.
pub fn attend(
    pass: &mut Pass,
    segment: usize,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    slopes: Option<&Tensor>,
) -> Result<Tensor> {
    let (k, v) = (k.contiguous(), v.contiguous());
    remember(pass, segment, &k, &v);
    // What a run sees behind its past: its own tokens, as a tensor that begins with them.
    let own: Vec<(Tensor, Tensor)> =
        pass.runs().iter().map(|run| (from(&k, run.tokens.start), from(&v, run.tokens.start))).collect();
    let runs: Vec<Keys<'_>> = pass
        .runs()
        .iter()
        .zip(&own)
        .map(|(run, (own_k, own_v))| {
            let (count, past) = (run.tokens.end - run.tokens.start, pass.past(run));
            let (head, tail) = match run.past {
                Past::Nothing => ((own_k, own_v, count), (own_k, own_v)),
                Past::Run(earlier) => ((&own[earlier].0, &own[earlier].1, past), (own_k, own_v)),
                Past::Cache(cache) => {
                    let kept = &pass.caches[cache].segments[segment];
                    ((&kept[KEYS], &kept[VALUES], past + count), (&kept[KEYS], &kept[VALUES]))
                }
            };
            Keys { tokens: (run.tokens.start, count), past, head, tail }
        })
        .collect();
    inference::attention(q, &runs, 1.0 / (q.size()[2] as f64).sqrt(), slopes)
}

fn from(rows: &Tensor, first: i64) -> Tensor {
    rows.narrow(0, first, rows.size()[0] - first)
}

/// Writes the new keys and values of runs with a cache behind those that it has.
fn remember(pass: &mut Pass, segment: usize, k: &Tensor, v: &Tensor) {
    for index in 0..pass.runs().len() {
        let run = pass.runs()[index].clone();
        let Past::Cache(cache) = run.past else { continue };
        let cache = &mut pass.caches[cache];
        let (start, count) = (cache.length, run.tokens.end - run.tokens.start);
        let kept = &mut cache.segments[segment];
        while kept.len() <= VALUES {
            kept.push(room(k, 0));
        }
        for (place, rows) in [(KEYS, k), (VALUES, v)] {
            if kept[place].size()[0] < start + count {
                // Half as much again: a long text is copied a few times in all.
                let larger = room(k, (start + count).max(start + start / 2));
                larger.narrow(0, 0, start).copy_(&kept[place].narrow(0, 0, start));
                kept[place] = larger;
            }
            kept[place].narrow(0, start, count).copy_(&rows.narrow(0, run.tokens.start, count));
        }
    }
}

/// An empty tensor like `rows` with room for at least `length` positions.
fn room(rows: &Tensor, length: i64) -> Tensor {
    let mut size = rows.size();
    size[0] = if length == 0 { 0 } else { (length + ROOM - 1) / ROOM * ROOM };
    Tensor::zeros(size.as_slice(), (rows.kind(), rows.device()))
}

/// For each run of a pass: `x` `[tokens, width]` with the `reach` rows in front that its sequence had before, zeros
/// where it had none: `[reach + tokens of the run, width]`. Runs with a cache keep their last rows at `place` there.
pub fn with_earlier_rows(pass: &mut Pass, segment: usize, x: &Tensor, reach: i64, place: usize) -> Vec<Tensor> {
    let none = Tensor::zeros([reach, x.size()[1]], (x.kind(), x.device()));
    let mut all: Vec<Tensor> = Vec::with_capacity(pass.runs().len());
    for index in 0..pass.runs().len() {
        let run = pass.runs()[index].clone();
        let rows = x.narrow(0, run.tokens.start, run.tokens.end - run.tokens.start);
        let last = |rows: &Tensor| rows.narrow(0, rows.size()[0] - reach, reach);
        let before = match run.past {
            Past::Nothing => none.shallow_clone(),
            Past::Run(earlier) => last(&all[earlier]),
            Past::Cache(cache) => {
                let kept = &pass.caches[cache].segments[segment];
                kept.get(place).filter(|kept| kept.size()[0] == reach).unwrap_or(&none).shallow_clone()
            }
        };
        let padded = Tensor::cat(&[before, rows], 0);
        if let Past::Cache(cache) = run.past {
            let kept = &mut pass.caches[cache].segments[segment];
            while kept.len() <= place {
                kept.push(Tensor::zeros([0], (Kind::Float, x.device())));
            }
            kept[place] = last(&padded).copy();
        }
        all.push(padded);
    }
    all
}
