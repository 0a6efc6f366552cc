use super::*;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn close(found: &Tensor, expected: &Tensor, tolerance: f64) -> bool {
    let scale = f64::try_from(expected.abs().max()).unwrap().max(1.0);
    let difference = found.to_kind(Kind::Double) - expected.to_kind(Kind::Double);
    found.size() == expected.size() && f64::try_from(difference.abs().max()).unwrap() <= tolerance * scale
}

#[test]
fn a_product_is_that_of_double_precision() {
    tch::manual_seed(1);
    for (rows, features, outputs) in
        [(1, 1, 1), (1, 384, 70), (5, 17, 3), (13, 1030, 66), (97, 2100, 9), (200, 48, 130)]
    {
        let (x, weight) = (Tensor::randn([rows, features], CPU), Tensor::randn([outputs, features], CPU));
        let bias = Tensor::randn([outputs], CPU);
        let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
        let expected = double(&x).matmul(&double(&weight).tr());
        assert!(close(&linear(&x, &weight, None).unwrap(), &expected, 1e-6), "{rows} {features} {outputs}");
        assert!(close(&linear(&x, &weight, Some(&bias)).unwrap(), &(&expected + double(&bias)), 1e-6));
        let half = weight.to_kind(Kind::BFloat16);
        let expected = double(&x).matmul(&double(&half).tr());
        assert!(close(&linear(&x, &half, None).unwrap(), &expected, 1e-6), "{rows} {features} {outputs} bf16");
    }
}

#[test]
fn a_row_of_a_product_does_not_know_its_neighbours() {
    tch::manual_seed(2);
    for kind in [Kind::Float, Kind::BFloat16] {
        let (x, weight) = (Tensor::randn([120, 1100], CPU), Tensor::randn([75, 1100], CPU).to_kind(kind));
        let all = linear(&x, &weight, None).unwrap();
        for (first, count) in [(0, 1), (3, 2), (7, 5), (95, 3), (100, 20), (119, 1)] {
            let some = linear(&x.narrow(0, first, count), &weight, None).unwrap();
            assert!(some.equal(&all.narrow(0, first, count)), "{kind:?} {first} {count}");
        }
        let some = linear(&x, &weight.narrow(0, 9, 31), None).unwrap();
        assert!(some.equal(&all.narrow(1, 9, 31)));
    }
}

/// Keys and values of one sequence, in double precision and one head after the other: the definition.
fn defined(q: &Tensor, k: &Tensor, v: &Tensor, past: i64, scale: f64, slopes: Option<&Tensor>) -> Tensor {
    let double = |tensor: &Tensor| tensor.to_kind(Kind::Double).transpose(0, 1);
    let groups = q.size()[1] / k.size()[1];
    let [k, v] = [k, v].map(|rows| double(&rows.repeat_interleave_self_int(groups, 1, None::<i64>)));
    let (count, keys) = (q.size()[0], k.size()[1]);
    let position = Tensor::arange_start(past, past + count, (Kind::Int64, Device::Cpu)).unsqueeze(1);
    let distance = position - Tensor::arange(keys, (Kind::Int64, Device::Cpu)).unsqueeze(0);
    let mut scores = double(q).matmul(&k.transpose(1, 2)) * scale;
    if let Some(slopes) = slopes {
        scores -= slopes.to_kind(Kind::Double).view([-1, 1, 1]) * &distance;
    }
    let scores = scores.masked_fill(&distance.lt(0), f64::NEG_INFINITY);
    scores.softmax(-1, Kind::Double).matmul(&v).transpose(0, 1)
}

#[test]
fn attention_is_that_of_double_precision_wherever_the_keys_are() {
    tch::manual_seed(3);
    for (heads, kv_heads, size) in [(3, 3, 64), (4, 2, 20), (2, 1, 130)] {
        let total = 150;
        let q = Tensor::randn([total, heads, size], CPU);
        let [k, v] = [(); 2].map(|()| Tensor::randn([total, kv_heads, size], CPU));
        let slopes = Tensor::from_slice(&[0.5_f32, 0.25, 0.125, 0.01]).narrow(0, 0, heads);
        let scale = 1.0 / (size as f64).sqrt();
        for slopes in [None, Some(&slopes)] {
            let whole = Keys { tokens: (0, total), past: 0, head: (&k, &v, total), tail: (&k, &v) };
            let all = attention(&q, &[whole], scale, slopes).unwrap();
            assert!(close(&all, &defined(&q, &k, &v, 0, scale, slopes), 2e-6), "{heads} {kv_heads} {size}");
            // The same tokens in two runs, whose keys lie in two places: not a bit differs.
            let (rest_k, rest_v) = (k.narrow(0, 41, total - 41).copy(), v.narrow(0, 41, total - 41).copy());
            let runs = [
                Keys { tokens: (0, 2), past: 60, head: (&k, &v, 41), tail: (&rest_k, &rest_v) },
                Keys {
                    tokens: (2, 70),
                    past: 70,
                    head: (&k, &v, 140),
                    tail: (&k.narrow(0, 140, 10), &v.narrow(0, 140, 10)),
                },
            ];
            let some = Tensor::cat(&[q.narrow(0, 60, 2), q.narrow(0, 70, 70)], 0);
            let found = attention(&some, &runs, scale, slopes).unwrap();
            assert!(found.equal(&Tensor::cat(&[all.narrow(0, 60, 2), all.narrow(0, 70, 70)], 0)));
            // The composed path of other dtypes agrees.
            let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
            let (dk, dv) = (double(&k), double(&v));
            let run = Keys {
                tokens: (0, 9),
                past: 100,
                head: (&dk, &dv, 50),
                tail: (&dk.narrow(0, 50, 99), &dv.narrow(0, 50, 99)),
            };
            let found = attention(&double(&q.narrow(0, 100, 9)), &[run], scale, slopes).unwrap();
            assert!(close(&found, &all.narrow(0, 100, 9), 2e-6));
        }
    }
}

#[test]
fn runs_that_do_not_fit_are_refused() {
    let (q, k) = (Tensor::zeros([4, 2, 8], CPU), Tensor::zeros([5, 2, 8], CPU));
    let run = |tokens, past, rows| Keys { tokens, past, head: (&k, &k, rows), tail: (&k, &k) };
    assert!(attention(&q, &[run((0, 4), 1, 5)], 1.0, None).is_ok());
    for wrong in [run((0, 3), 1, 5), run((1, 4), 0, 5), run((0, 4), 7, 5), run((0, 4), 1, 6), run((0, 4), -1, 3)] {
        assert!(attention(&q, &[wrong], 1.0, None).is_err());
    }
    assert!(attention(&Tensor::zeros([4, 3, 8], CPU), &[run((0, 4), 1, 5)], 1.0, None).is_err());
}

#[test]
fn log_likelihoods_are_those_of_double_precision_and_of_one_row_alone() {
    tch::manual_seed(4);
    let (hidden, weight) = (Tensor::randn([200, 33], CPU), Tensor::randn([101, 33], CPU));
    let pairs: Vec<(i64, i64)> = (0..300).map(|i| (i * 2 / 3, (i * 37) % 101)).collect();
    let (logs, greedy) = log_likelihoods(&hidden, &weight, &pairs).unwrap();
    let expected =
        hidden.to_kind(Kind::Double).matmul(&weight.to_kind(Kind::Double).tr()).log_softmax(-1, Kind::Double);
    for ((row, class), log) in pairs.iter().zip(&logs) {
        assert!((log - expected.double_value(&[*row, *class])).abs() < 1e-5);
    }
    let best = Vec::<i64>::try_from(expected.argmax(-1, false)).unwrap();
    assert_eq!(greedy, best);
    let (alone, _) = log_likelihoods(&hidden.narrow(0, 123, 1), &weight, &[(0, 5)]).unwrap();
    let (among, _) = log_likelihoods(&hidden, &weight, &[(123, 5)]).unwrap();
    assert_eq!(alone, among);
    let logits = linear(&hidden, &weight, None).unwrap();
    let (log_sums, best_of_logits) = normalisers(&logits).unwrap();
    assert_eq!(best_of_logits, greedy);
    let (row, class) = pairs[77];
    assert_eq!(logits.double_value(&[row, class]) - log_sums[row as usize], logs[77], "the same bits");
    let double = log_likelihoods(&hidden.to_kind(Kind::Double), &weight.to_kind(Kind::Double), &pairs).unwrap();
    assert!(double.0.iter().zip(&logs).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(double.1, greedy);
    assert!(log_likelihoods(&hidden, &weight, &[(0, 101)]).is_err());
    assert!(log_likelihoods(&hidden, &weight, &[(2, 1), (1, 1)]).is_err());
}

#[test]
fn of_equal_logits_the_first_is_the_likeliest() {
    let (hidden, weight) = (Tensor::ones([1, 2], CPU), Tensor::ones([40, 2], CPU));
    assert_eq!(log_likelihoods(&hidden, &weight, &[(0, 39)]).unwrap().1, [0]);
}

#[test]
fn activations_are_those_of_double_precision_at_every_place() {
    tch::manual_seed(5);
    let (gate, up) = (Tensor::randn([7, 37], CPU) * 3, Tensor::randn([7, 37], CPU));
    let double = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    assert!(close(&swiglu(&gate, &up).unwrap(), &(double(&gate).silu() * double(&up)), 1e-6));
    assert!(close(&gelu(&gate).unwrap(), &double(&gate).gelu("none"), 1e-6));
    let part = |tensor: &Tensor| tensor.narrow(0, 3, 1).narrow(1, 0, 5).copy();
    assert!(swiglu(&part(&gate), &part(&up)).unwrap().equal(&part(&swiglu(&gate, &up).unwrap())));
    assert!(gelu(&part(&gate)).unwrap().equal(&part(&gelu(&gate).unwrap())));
}
