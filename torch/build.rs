//! Compiles the C++ of `csrc`: the shim once, the kernels once per instruction set.

#[path = "../tools/build/rpath.rs"]
mod rpath;

use std::env;
use std::path::{Path, PathBuf};

/// Name of the unit, macro values that ATen's vector headers expect, and compiler flags.
const INSTRUCTION_SETS: [(&str, &str, &[&str]); 3] = [
    ("default", "DEFAULT", &[]),
    ("avx2", "AVX2", &["-mavx2", "-mfma", "-mf16c"]),
    ("avx512", "AVX512", &["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"]),
];

/// Units that see libtorch's tensors.
const SHIM: [&str; 7] = ["inference", "shim", "linear", "loss", "optimizers", "products", "sine"];

fn main() {
    rpath::main();
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    let include = env::var_os("LIBTORCH_INCLUDE").or_else(|| env::var_os("LIBTORCH")).map(PathBuf::from);
    let Some(include) = include.map(|home| home.join("include")) else {
        println!(
            "cargo::error=LIBTORCH is not set: run `./psann` once, which fetches libtorch, or set LIBTORCH to a libtorch 2.13.0"
        );
        return;
    };
    if !is_pinned_version(&include) {
        println!("cargo::error=psann needs libtorch 2.13.0; `{}` is another version", include.display());
        return;
    }
    compiler(&include).files(SHIM.map(|unit| format!("csrc/{unit}.cpp"))).compile("psann_shim");
    compiler(&include)
        .file("csrc/distributed.cpp")
        .flag("-isystem")
        .flag("csrc/gloo_stubs")
        .compile("psann_distributed");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        nccl(&include);
    }
    let x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    // The plainest unit first: where units share an inline function, the linker keeps the first, and that one must
    // run on every processor.
    for (name, capability, flags) in INSTRUCTION_SETS.iter().take(if x86 { 3 } else { 1 }) {
        let mut build = compiler(&include);
        build
            .files(["csrc/kernels.cpp", "csrc/inference_kernels.cpp", "csrc/optimizer_kernels.cpp"])
            .define("CPU_CAPABILITY", *capability);
        build.define(&format!("CPU_CAPABILITY_{capability}"), None);
        build.define("PSANN_KERNELS", format!("psann_kernels_{name}").as_str());
        build.define("PSANN_INFERENCE_KERNELS", format!("psann_inference_kernels_{name}").as_str());
        build.define("PSANN_OPTIMIZER_KERNELS", format!("psann_optimizer_kernels_{name}").as_str());
        if x86 {
            build.define("PSANN_X86", None);
        }
        for flag in *flags {
            build.flag(flag);
        }
        build.compile(&format!("psann_kernels_{name}"));
    }
}

/// The one unit that needs more headers than libtorch brings: those of CUDA's runtime and of NCCL.
fn nccl(include: &Path) {
    let mut build = compiler(include);
    for (variable, header) in [("CUDA_INCLUDE", "cuda_runtime_api.h"), ("NCCL_INCLUDE", "nccl.h")] {
        println!("cargo::rerun-if-env-changed={variable}");
        let folders = env::var_os(variable).unwrap_or_default();
        let folders: Vec<PathBuf> = env::split_paths(&folders).collect();
        if !folders.iter().any(|folder| folder.join(header).exists()) {
            println!("cargo::error=the feature `cuda` needs the folder of `{header}` in the variable {variable}");
            return;
        }
        for folder in folders {
            build.flag("-isystem").flag(folder);
        }
    }
    build.file("csrc/nccl.cpp").flag("-isystem").flag("csrc/cuda_stubs").compile("psann_nccl");
    println!("cargo::rustc-link-lib=torch_cuda");
}

fn compiler(include: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .opt_level(3)
        .debug(false)
        .warnings(false)
        .include("csrc")
        // System headers: their warnings are not ours.
        .flag("-isystem")
        .flag(include.as_os_str())
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include").as_os_str())
        // Without it at::parallel_for, inline in the header, silently becomes a serial loop.
        .flag("-fopenmp")
        .flag("-fno-math-errno")
        .define("_GLIBCXX_USE_CXX11_ABI", "1");
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        build.define("PSANN_X86", None);
    }
    build
}

/// The headers always tell the version; a wheel has no `build-version` file that torch-sys could check.
fn is_pinned_version(include: &Path) -> bool {
    let read = |path: &str| std::fs::read_to_string(include.join(path)).unwrap_or_default();
    let text = read("torch/headeronly/version.h") + &read("torch/csrc/api/include/torch/version.h");
    let part = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(&format!("#define TORCH_VERSION_{name} ")).map(str::trim).map(str::to_owned)
        })
    };
    (part("MAJOR").as_deref(), part("MINOR").as_deref(), part("PATCH").as_deref()) == (Some("2"), Some("13"), Some("0"))
}
