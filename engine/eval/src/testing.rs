//! A model and a tokenizer small enough to reason about, for this crate's tests: engine rooms know no plugins.

use std::ops::Range;

use psann_core::model::{Draw, ForwardContext, ParameterSpec, Projection, SegmentSpec};
use psann_core::pass::Past;
use psann_core::tokenizer::SpecialTokens;
use psann_core::{Error, Model, Result, Tokenizer};
use tch::{Device, Kind, Tensor};

use crate::Network;

const WIDTH: i64 = 8;

/// Embedding, one block of causal attention with a cache, vocabulary matrix.
pub struct ToyModel {
    segments: Vec<SegmentSpec>,
    vocabulary: i64,
}

/// A [`ToyModel`] with weights.
pub struct Toy {
    pub model: ToyModel,
    pub parameters: Vec<Vec<Tensor>>,
}

impl Toy {
    pub fn new(vocabulary: i64) -> Self {
        let spec = |name: &str, shape: &[i64]| ParameterSpec {
            name: name.into(),
            shape: shape.to_vec(),
            decays: true,
            trainable: true,
        };
        let segment = |name: &str, parameters| SegmentSpec { name: name.into(), parameters };
        let segments = vec![
            segment("embed", vec![spec("embed.weight", &[vocabulary, WIDTH])]),
            segment("blocks.0", vec![spec("blocks.0.weight", &[WIDTH, WIDTH])]),
            segment("head", vec![spec("lm_head.weight", &[vocabulary, WIDTH])]),
        ];
        // Irregular but fixed values: a seeded generator would tie the tests to libtorch's.
        let fill = |number: usize, shape: &[i64]| {
            let count = shape.iter().product::<i64>();
            let index = Tensor::arange(count, (Kind::Double, Device::Cpu));
            (((index * 0.7 + 1.3 * number as f64).sin() * 43.7).sin() * 1.5).to_kind(Kind::Float).view(shape)
        };
        let parameters = segments
            .iter()
            .enumerate()
            .map(|(number, segment)| segment.parameters.iter().map(|spec| fill(number, &spec.shape)).collect());
        let parameters = parameters.collect();
        Self { model: ToyModel { segments, vocabulary }, parameters }
    }

    pub fn network(&self) -> Network<'_> {
        Network::new(&self.model, &self.parameters).unwrap()
    }
}

impl Model for ToyModel {
    fn segments(&self) -> &[SegmentSpec] {
        &self.segments
    }

    fn initialisation(&self) -> Vec<Draw> {
        Vec::new()
    }

    fn forward(
        &self,
        segment: usize,
        parameters: &[Tensor],
        input: &Tensor,
        context: &mut ForwardContext<'_>,
    ) -> Result<Tensor> {
        if segment == 0 {
            return Ok(Tensor::embedding(&parameters[0], input, -1, false, false));
        }
        let weight = parameters[0].tr();
        let Some(pass) = &mut context.pass else { return Ok(attended(input, input, &weight)) };
        let mut kept: Vec<Tensor> = Vec::new();
        let runs = pass.runs().to_vec();
        let mut mixed = Vec::new();
        for run in &runs {
            let rows = input.narrow(1, run.tokens.start, run.tokens.end - run.tokens.start);
            let keys = match run.past {
                Past::Nothing => rows.shallow_clone(),
                Past::Run(earlier) => Tensor::cat(&[&kept[earlier], &rows], 1),
                Past::Cache(cache) => match pass.caches[cache].segments[segment].first() {
                    Some(past) => Tensor::cat(&[past, &rows], 1),
                    None => rows.shallow_clone(),
                },
            };
            if let Past::Cache(cache) = run.past {
                pass.caches[cache].segments[segment] = vec![keys.shallow_clone()];
            }
            mixed.push(attended(&rows, &keys, &weight));
            kept.push(keys);
        }
        Ok(Tensor::cat(&mixed, 1))
    }

    fn project(&self, _: &[Tensor], input: &Tensor) -> Result<Projection> {
        Ok(Projection { hidden: input.shallow_clone(), weight: 0 })
    }

    fn vocabulary(&self) -> i64 {
        self.vocabulary
    }

    fn flops_per_token(&self, _: i64) -> f64 {
        0.0
    }
}

/// Causal attention of the last tokens of a text to all of it; residual.
fn attended(input: &Tensor, keys: &Tensor, weight: &Tensor) -> Tensor {
    let (rows, columns) = (input.size()[1], keys.size()[1]);
    let future = Tensor::ones([rows, columns], (Kind::Bool, Device::Cpu)).triu(columns - rows + 1);
    let scores = input.matmul(weight).bmm(&keys.transpose(1, 2));
    let weights = scores.masked_fill(&future, f64::NEG_INFINITY).softmax(-1, Kind::Float);
    input + weights.bmm(keys)
}

/// Bytes as ids, like a byte-level tokenizer without merges; id 256 ends a text.
pub struct ByteTokenizer;

/// The end-of-text id of [`ByteTokenizer`].
pub const END: u32 = 256;

impl Tokenizer for ByteTokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        texts.iter().map(|text| self.encode(text)).collect()
    }

    fn encode_markup(&self, text: &str, _: bool) -> Result<Vec<u32>> {
        self.encode(text)
    }

    fn encode_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let of_char =
            |(at, c): (usize, char)| c.to_string().into_bytes().into_iter().map(move |b| (b.into(), at..at + 1));
        Ok(text.chars().enumerate().flat_map(of_char).collect())
    }

    fn spelling(&self, id: u32) -> Option<String> {
        self.decode(&[id]).ok()
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let bytes: Vec<u8> = ids.iter().filter_map(|id| u8::try_from(*id).ok()).collect();
        if ids.iter().any(|id| *id > END) {
            return Err(Error::new("no such id"));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn vocabulary(&self) -> usize {
        END as usize + 1
    }

    fn special(&self) -> SpecialTokens {
        SpecialTokens { eos: Some(END), ..SpecialTokens::default() }
    }

    fn identity(&self) -> String {
        "bytes".into()
    }
}

/// A model that says what it is told to: after position n comes `script[n]`, whatever came before.
pub struct Script {
    pub model: ScriptModel,
    pub parameters: Vec<Vec<Tensor>>,
}

/// The model of a [`Script`].
pub struct ScriptModel {
    segments: Vec<SegmentSpec>,
    script: Vec<u32>,
    vocabulary: i64,
}

impl Script {
    /// Says `script[n]` after `n + 1` tokens were read, and the last entry from there on.
    pub fn new(script: &[u32], vocabulary: i64) -> Self {
        let segment = |name: &str, parameters| SegmentSpec { name: name.into(), parameters };
        let matrix = ParameterSpec {
            name: "lm_head.weight".into(),
            shape: vec![vocabulary, vocabulary],
            decays: true,
            trainable: true,
        };
        let segments = vec![segment("embed", Vec::new()), segment("head", vec![matrix])];
        let model = ScriptModel { segments, script: script.to_vec(), vocabulary };
        let identity = Tensor::eye(vocabulary, (Kind::Float, Device::Cpu)) * 20.0;
        Self { model, parameters: vec![Vec::new(), vec![identity]] }
    }

    pub fn network(&self) -> Network<'_> {
        Network::new(&self.model, &self.parameters).unwrap()
    }
}

impl Model for ScriptModel {
    fn segments(&self) -> &[SegmentSpec] {
        &self.segments
    }

    fn initialisation(&self) -> Vec<Draw> {
        Vec::new()
    }

    fn forward(&self, _: usize, _: &[Tensor], input: &Tensor, context: &mut ForwardContext<'_>) -> Result<Tensor> {
        let last = self.script[self.script.len() - 1];
        let say = |position: usize| i64::from(*self.script.get(position).unwrap_or(&last));
        let positions = match &context.pass {
            Some(pass) => pass.positions(Device::Cpu),
            None => Tensor::arange(input.size()[1], (Kind::Int64, Device::Cpu)),
        };
        let positions = Vec::<i64>::try_from(positions).unwrap();
        let row: Vec<i64> = positions.into_iter().map(|position| say(position as usize)).collect();
        let row = Tensor::from_slice(&row).one_hot(self.vocabulary).to_kind(Kind::Float);
        Ok(row.unsqueeze(0).expand([input.size()[0], -1, -1], false))
    }

    fn project(&self, _: &[Tensor], input: &Tensor) -> Result<Projection> {
        Ok(Projection { hidden: input.shallow_clone(), weight: 0 })
    }

    fn vocabulary(&self) -> i64 {
        self.vocabulary
    }

    fn flops_per_token(&self, _: i64) -> f64 {
        0.0
    }
}

/// Whether two tensors agree within `tolerance` of the greater one's largest value.
pub fn close(found: &Tensor, expected: &Tensor, tolerance: f64) -> bool {
    let scale = f64::try_from(expected.abs().max()).unwrap().max(1e-3);
    found.size() == expected.size() && f64::try_from((found - expected).abs().max()).unwrap() <= tolerance * scale
}
