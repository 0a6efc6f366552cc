# Messages, and the tools a build needs. Sourced by `psann` and `check`, with `root` set to the tree.
# shellcheck shell=sh disable=SC2016,SC2154 # backticks in messages are literal; `root` comes from the caller

# die MESSAGE HINT: one error on stderr, exit 2. Exit 2 sets set-up failures apart from most of the program's own codes.
die() {
    printf 'error: %s\n  hint: %s\n' "$1" "$2" >&2
    exit 2
}

# Progress goes to stderr too: stdout belongs to the program.
say() {
    printf 'psann: %s\n' "$1" >&2
}

require_tools() {
    # rustup writes its PATH line into the shell's start-up files; the shell in which it was just installed lacks it.
    if ! command -v cargo >/dev/null 2>&1; then
        PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
        export PATH
        command -v cargo >/dev/null 2>&1 ||
            die "cargo not found: psann is built from source and needs Rust" \
                "install it with rustup (https://rustup.rs), then run this command again"
    fi
    # CXX may carry a launcher or flags (`ccache g++`): its first word must be a program.
    if [ -n "${CXX:-}" ]; then
        command -v "${CXX%% *}" >/dev/null 2>&1 ||
            die "the C++ compiler \`$CXX\` (from CXX) was not found" "unset CXX, or set it to a C++17 compiler"
        return
    fi
    for cxx in c++ g++ clang++; do
        if command -v "$cxx" >/dev/null 2>&1; then
            # `c++` is what cargo's build scripts try by themselves; naming it would change their fingerprint.
            [ "$cxx" = c++ ] || { CXX=$cxx && export CXX; }
            return
        fi
    done
    die "no C++ compiler found (tried c++, g++, clang++)" \
        "install one, for example \`sudo apt install build-essential\` or \`sudo dnf install gcc-c++\`, or set CXX"
}

# After a failed build: an old Rust is the likeliest reason on a new machine.
hint_old_rust() (
    wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
    found=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$wanted" ] && [ -n "$found" ] || return 0
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        printf '  hint: psann needs Rust %s, this is %s: run `rustup update`\n' "$wanted" "$found" >&2
)
