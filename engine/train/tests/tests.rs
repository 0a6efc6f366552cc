//! The training room with real plugins: one binary for all of it, because linking libtorch takes time.

#![expect(clippy::unwrap_used, reason = "tests")]

mod launching {
    mod ended;
    mod killed;
    mod output;
    mod support;
}

mod training {
    mod bench;
    mod checkpoints;
    mod executor;
    mod golden;
    mod guards;
    mod kills;
    mod memory;
    mod reference;
    mod resharded;
    mod resume;
    mod sharded;
    mod support;
}
