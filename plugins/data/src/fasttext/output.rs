//! From the hidden vector to labels.
//!
//! Probabilities come with fastText's habit of adding 1e-5 before it takes a logarithm: the certain answer of a softmax
//! has probability 1.00001, and a leaf of a tree gains a little at each step down. Published thresholds were chosen on
//! such numbers, so they are kept.

use super::input::{Result, damaged};
use super::matrix::Matrix;

/// Counts in the tree stay below fastText's "not yet known".
const UNKNOWN: i64 = 1_000_000_000_000_000;
/// fastText's table of the logistic function: 512 steps from -8 to 8.
const TABLE: usize = 512;
const TABLE_END: f32 = 8.0;

/// How the hidden vector becomes probabilities.
#[derive(Debug)]
pub(super) enum Output {
    /// A Huffman tree of labels by their counts; each inner node has a row.
    Tree(Vec<Node>),
    /// All labels share the probability.
    Softmax,
    /// Each label has its own yes or no (negative sampling and one-vs-all).
    Logistic(Vec<f32>),
}

/// A node of the tree: leaves are the labels, in their order, and come first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    children: Option<(u32, u32)>,
    count: i64,
}

/// The `most` best labels so far, best first, with the logarithms of their probabilities.
#[derive(Debug, Default)]
pub(super) struct Best {
    pub(super) most: usize,
    pub(super) found: Vec<(f32, u32)>,
}

impl Best {
    fn reaches(&self, score: f32) -> bool {
        self.found.len() < self.most || self.found.last().is_some_and(|worst| score >= worst.0)
    }

    fn add(&mut self, score: f32, label: u32) {
        if !score.is_nan() && self.reaches(score) {
            let at = self.found.partition_point(|found| found.0 >= score);
            self.found.insert(at, (score, label));
            self.found.truncate(self.most);
        }
    }
}

/// fastText's logarithm: of a number 1e-5 larger, in double precision.
fn log(x: f32) -> f32 {
    (f64::from(x) + 1e-5).ln() as f32
}

impl Output {
    /// The tree of labels that occurred `counts` times.
    pub(super) fn tree(counts: impl ExactSizeIterator<Item = i64>) -> Result<Self> {
        let leaves = counts.len();
        let mut nodes: Vec<Node> = counts.map(|count| Node { children: None, count }).collect();
        let valid = nodes.iter().try_fold(0_i64, |sum, node| sum.checked_add(node.count).filter(|_| node.count >= 0));
        if valid.is_none_or(|sum| sum >= UNKNOWN) {
            return damaged("its labels have impossible counts");
        }
        nodes.resize(2 * leaves - 1, Node { children: None, count: UNKNOWN });
        // Leaves come by falling count, so the two rarest are always the last leaf left or the first inner node left.
        let (mut leaf, mut inner) = (leaves, leaves);
        for parent in leaves..nodes.len() {
            let mut rarest = || {
                if leaf > 0 && nodes[leaf - 1].count < nodes[inner].count {
                    leaf -= 1;
                    leaf
                } else {
                    inner += 1;
                    inner - 1
                }
            };
            let (left, right) = (rarest(), rarest());
            let count = nodes[left].count + nodes[right].count;
            nodes[parent] = Node { children: Some((left as u32, right as u32)), count };
        }
        Ok(Self::Tree(nodes))
    }

    /// Independent yes and no of each label.
    pub(super) fn logistic() -> Self {
        let x = |i| (i as f32 * 2.0 * TABLE_END) / TABLE as f32 - TABLE_END;
        Self::Logistic((0..=TABLE).map(|i| (1.0 / (1.0 + f64::from((-x(i)).exp()))) as f32).collect())
    }

    /// Fills `best`. `stack` and `scores` are scratch space.
    pub(super) fn predict(
        &self,
        weights: &Matrix,
        labels: usize,
        hidden: &[f32],
        best: &mut Best,
        stack: &mut Vec<(u32, f32)>,
        scores: &mut Vec<f32>,
    ) {
        best.found.clear();
        match self {
            Self::Tree(nodes) => descend(nodes, weights, labels, hidden, best, stack),
            Self::Softmax => {
                let products = (0..labels).map(|label| weights.dot(label, hidden));
                scores.clear();
                scores.extend(products);
                let largest = scores.iter().copied().fold(scores[0], f32::max);
                let mut sum = 0.0;
                for score in scores.iter_mut() {
                    *score = f64::from(*score - largest).exp() as f32;
                    sum += *score;
                }
                for (label, score) in scores.iter().enumerate() {
                    best.add(log(score / sum), label as u32);
                }
            }
            Self::Logistic(table) => {
                for label in 0..labels {
                    best.add(log(logistic(table, weights.dot(label, hidden))), label as u32);
                }
            }
        }
    }
}

fn logistic(table: &[f32], x: f32) -> f32 {
    if x < -TABLE_END {
        0.0
    } else if x > TABLE_END {
        1.0
    } else {
        table[((x + TABLE_END) * TABLE as f32 / TABLE_END / 2.0) as usize]
    }
}

/// Walks down the tree and leaves out branches that cannot reach the best labels. The likelier child goes first, which
/// finds good labels early; fastText goes left first, to the same labels. The stack is our own: a tree may be as deep
/// as it has labels.
fn descend(
    nodes: &[Node],
    weights: &Matrix,
    labels: usize,
    hidden: &[f32],
    best: &mut Best,
    stack: &mut Vec<(u32, f32)>,
) {
    let least = log(0.0);
    stack.clear();
    stack.push((nodes.len() as u32 - 1, 0.0));
    while let Some((node, score)) = stack.pop() {
        if score < least || !best.reaches(score) {
            continue;
        }
        let Some((left, right)) = nodes[node as usize].children else {
            best.add(score, node);
            continue;
        };
        let product = weights.dot(node as usize - labels, hidden);
        let go_right = (1.0 / f64::from(1.0 + (-product).exp())) as f32;
        let left = (left, score + log((1.0 - f64::from(go_right)) as f32));
        let right = (right, score + log(go_right));
        if left.1 > right.1 {
            stack.extend([right, left]);
        } else {
            stack.extend([left, right]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(counts: &[i64]) -> Vec<Option<(u32, u32)>> {
        match Output::tree(counts.iter().copied()).unwrap() {
            Output::Tree(nodes) => nodes.iter().map(|node| node.children).collect(),
            _ => unreachable!(),
        }
    }

    #[test]
    fn tree_joins_the_rarest_first() {
        let inner = |counts: &[i64]| children(counts)[counts.len()..].iter().map(|c| c.unwrap()).collect::<Vec<_>>();
        assert_eq!(inner(&[10, 5, 2, 1]), [(3, 2), (4, 1), (5, 0)]);
        assert_eq!(inner(&[4, 4, 4, 4]), [(3, 2), (1, 0), (4, 5)]);
        // On a tie the inner node goes first.
        assert_eq!(inner(&[9, 3, 2, 1]), [(3, 2), (4, 1), (5, 0)]);
        assert_eq!(inner(&[7]), []);
    }

    #[test]
    fn impossible_counts_are_an_error() {
        assert!(Output::tree([5, -1].into_iter()).is_err());
        assert!(Output::tree([UNKNOWN, 1].into_iter()).is_err());
        assert!(Output::tree([i64::MAX, i64::MAX].into_iter()).is_err());
    }

    #[test]
    fn best_keeps_the_best_in_order() {
        let mut best = Best { most: 2, found: Vec::new() };
        for (label, score) in [-3.0, -1.0, f32::NAN, -2.0, -9.0].into_iter().enumerate() {
            best.add(score, label as u32);
        }
        assert_eq!(best.found, [(-1.0, 1), (-2.0, 3)]);
    }
}
