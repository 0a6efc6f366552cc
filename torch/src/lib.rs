//! What tch lacks of libtorch: gradients with a given output gradient, fused kernels with their backward passes, and
//! memory figures. All `unsafe` and all C++ of psann live here.
//!
//! Fused kernels run on fp32 and bf16 CPU tensors, with fp32 arithmetic inside. Other devices and dtypes take composed
//! operations with the same formulas. They exist for AVX-512, for AVX2 and for any processor; the variable
//! `PSANN_INSTRUCTIONS` (`default`, `avx2`, `avx512`) says which to use at most.
//!
//! | module | what |
//! |---|---|
//! | [`autograd`] | gradients of one output with respect to chosen inputs |
//! | [`sine`] | the damped sine |
//! | [`linear`] | linear maps, embeddings, the residual sum |
//! | [`norm`] | RMS norm |
//! | [`rotary`] | rotary positions |
//! | [`loss`] | vocabulary projection and cross-entropy, a few rows at a time |
//! | [`inference`] | forward passes whose bits do not depend on what is computed beside them |
//! | [`optimizer`] | steps of AdamW, 8-bit AdamW and Adafactor; stochastic rounding; squared sums |
//! | [`bytes`], [`storage`] | a tensor's memory |
//! | [`memory`], [`threads`] | what the process uses |
//! | [`distributed`] | groups of processes |

pub mod autograd;
pub mod bytes;
pub mod distributed;
mod ffi;
pub mod inference;
pub mod linear;
pub mod loss;
pub mod memory;
pub mod norm;
pub mod optimizer;
pub mod rotary;
pub mod sine;
pub mod storage;
pub mod threads;

/// The version of libtorch that psann was compiled against, `2.13.0`; the build refuses any other.
pub fn libtorch_version() -> String {
    ffi::libtorch_version()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// The variable that says which kernels to use at most.
    const INSTRUCTIONS: &str = "PSANN_INSTRUCTIONS";

    fn run(instructions: &str, test: &[&str]) -> (bool, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(test).env(INSTRUCTIONS, instructions).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// This machine uses the best kernels it can; the others are run here, by all other tests of this program.
    #[test]
    fn kernels_of_every_instruction_set_pass_the_tests() {
        for instructions in ["default", "avx2"] {
            let (passed, output) = run(instructions, &["--skip", "instruction_set"]);
            assert!(passed, "with {instructions}:\n{output}");
            assert!(output.contains("inference::tests::a_product_is_that_of_double_precision ... ok"), "{output}");
        }
    }

    #[test]
    fn an_unknown_instruction_set_is_an_error() {
        let (passed, output) = run("sse", &["a_product_is_that_of_double_precision"]);
        assert!(!passed);
        assert!(output.contains("must be `default`, `avx2` or `avx512`, found `sse`"), "{output}");
    }
}
