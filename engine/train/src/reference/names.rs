//! Names of parameters. Ours are the reference's; what wrappers of PyTorch put around them goes.

/// What wrappers add, wherever it stands: compilation, FSDP, activation checkpointing.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// What DDP puts in front.
const DISTRIBUTED: &str = "module";

/// The name without what wrappers added.
pub fn plain(name: &str) -> String {
    let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
    let parts: Vec<&str> = parts.skip_while(|part| *part == DISTRIBUTED).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn wrappers_go_in_any_order_and_names_stay() {
        for name in [
            "embed.weight",
            "module.embed.weight",
            "_orig_mod.embed.weight",
            "module._orig_mod.embed.weight",
            "_orig_mod.module.embed.weight",
            "_fsdp_wrapped_module.embed._checkpoint_wrapped_module.weight",
        ] {
            assert_eq!(plain(name), "embed.weight");
        }
        assert_eq!(plain("blocks.0.module.weight"), "blocks.0.module.weight");
    }
}
