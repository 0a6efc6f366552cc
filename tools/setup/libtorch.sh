# Gets libtorch and points the build at it. Sourced by `psann` and `check` after toolchain.sh, with `root` set to the tree.
#
#   LIBTORCH        a libtorch of your own: nothing is fetched, its version is checked
#   PSANN_LIBTORCH  where the fetched one lives (default: libtorch-VERSION-FLAVOUR in the user's cache)
#   PSANN_DEVICE    cpu or cuda; by default cuda where an NVIDIA driver is present
#
# A fetched folder counts as complete only by its stamp, which is written last inside a temporary folder beside it; one
# rename then puts everything in place. So whatever interrupts a fetch leaves nothing that a later run could believe.
# shellcheck shell=sh disable=SC2030,SC2031,SC2154 # `root` comes from the caller; what subshells set stays in them

libtorch_version=2.13.0 # moves together with tch in Cargo.toml and with the pins beside this file

ensure_libtorch() {
    [ -z "${LIBTORCH_USE_PYTORCH:-}" ] ||
        die "LIBTORCH_USE_PYTORCH is set, and psann does not build against a Python installation that way" \
            "unset it; to use that PyTorch's libraries, set LIBTORCH to its \`torch\` folder"
    if [ -n "${LIBTORCH:-}" ]; then
        use_own_libtorch
        return
    fi
    unset LIBTORCH # set but empty, it would still win over .cargo/config.toml
    choose_libtorch
    libtorch_is_complete || fetch_libtorch
    link_libtorch
}

use_own_libtorch() {
    own=$LIBTORCH
    [ -d "$own" ] || die "LIBTORCH is \`$own\`, which is no directory" "correct it, or unset LIBTORCH to let psann fetch libtorch"
    # Build scripts run in other directories. An absolute path stays as it is: were it spelt otherwise than plain cargo
    # sees it, cargo would rebuild at every change between the two.
    case $own in
    /*) ;;
    *) LIBTORCH=$PWD/$own && export LIBTORCH ;;
    esac
    [ -e "${LIBTORCH_LIB:-$LIBTORCH}/lib/libtorch_cpu.so" ] ||
        die "LIBTORCH is \`$own\`, which has no lib/libtorch_cpu.so" \
            "point it at the folder that holds \`include\` and \`lib\`, or unset it to let psann fetch libtorch"
    found=$(version_of_libtorch "${LIBTORCH_INCLUDE:-$LIBTORCH}")
    [ "$found" = "$libtorch_version" ] ||
        die "LIBTORCH is \`$own\`, libtorch ${found:-of unknown version}; psann needs exactly $libtorch_version" \
            "set LIBTORCH to a libtorch $libtorch_version, or unset it to let psann fetch one"
}

# torch-sys checks the version only where a `build-version` file says it, which wheels lack; the headers always do.
version_of_libtorch() {
    # Older versions define these in the second file, newer ones in the first.
    cat "$1/include/torch/headeronly/version.h" "$1/include/torch/csrc/api/include/torch/version.h" 2>/dev/null | awk '
        $1 == "#define" && $2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ { version = version dot $3; dot = "." }
        END { print version }'
}

# Sets `flavour` (cpu or cuda) and `folder`.
choose_libtorch() {
    case ${PSANN_DEVICE:-auto} in
    cpu) flavour=cpu ;;
    cuda*) flavour=cuda ;;
    auto)
        flavour=cpu
        # A node without a GPU keeps using a CUDA libtorch that is already there, so that the login node and the GPU
        # nodes of a cluster, which often share a home, agree on one build.
        if has_nvidia_driver || libtorch_folder cuda | stamped_as cuda; then flavour=cuda; fi
        ;;
    *) die "unknown PSANN_DEVICE \`$PSANN_DEVICE\`" "use \`cpu\` or \`cuda\`, or leave it unset" ;;
    esac
    folder=$(libtorch_folder "$flavour")
    [ -n "$folder" ] || die "HOME is not set" "set it, or name a folder for libtorch in PSANN_LIBTORCH"
    # CUDA libraries run on the CPU too, so one folder named by hand may serve both.
    if [ "$flavour" = cpu ] && echo "$folder" | stamped_as cuda; then flavour=cuda; fi
}

libtorch_folder() {
    cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    case ${PSANN_LIBTORCH:-} in
    '') [ -z "$cache" ] || echo "$cache/psann/libtorch-$libtorch_version-$1" ;;
    /*) echo "${PSANN_LIBTORCH%/}" ;;
    *) echo "$PWD/${PSANN_LIBTORCH%/}" ;;
    esac
}

has_nvidia_driver() {
    [ -e /proc/driver/nvidia/version ] || { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1
}

# Reads a folder's path on stdin.
stamped_as() {
    IFS= read -r stamped && [ "$(head -n 1 "$stamped/.psann-stamp" 2>/dev/null)" = "psann-libtorch $libtorch_version $1" ]
}

# The stamp's first line names version and flavour; the others are size and path of each library. Comparing them takes
# milliseconds and notices a file that went missing or was cut short; headers came with the same rename.
libtorch_is_complete() {
    echo "$folder" | stamped_as "$flavour" &&
        [ "$(sed 1d "$folder/.psann-stamp")" = "$(sed '1d; s/^[0-9]* //' "$folder/.psann-stamp" | sizes_in "$folder")" ]
}

sizes_in() (
    cd "$1" && xargs stat -c '%s %n' 2>/dev/null
)

write_stamp() (
    cd "$1" || exit
    libraries=$(find torch/lib nvidia -type f -name '*.so*' | LC_ALL=C sort | sizes_in .)
    printf 'psann-libtorch %s %s\n%s\n' "$libtorch_version" "$flavour" "$libraries" >.psann-stamp
)

# In a subshell, so that its lock and its traps end with it.
fetch_libtorch() (
    require_platform
    require_pip
    parent=$(dirname "$folder")
    mkdir -p "$parent" 2>/dev/null || die "cannot create \`$parent\`" "name a folder you can write to in PSANN_LIBTORCH"
    lock_libtorch
    if libtorch_is_complete; then exit 0; fi # another run fetched it while this one waited
    if [ -e "$folder" ] && ! grep -qs '^psann-libtorch ' "$folder/.psann-stamp"; then
        # Never delete what is not ours: PSANN_LIBTORCH may name anything. An empty folder is fine.
        rmdir "$folder" 2>/dev/null ||
            die "\`$folder\` exists, but psann did not make it" \
                "remove it or name another folder in PSANN_LIBTORCH; to use a libtorch of your own, set LIBTORCH instead"
    elif [ -e "$folder" ] && ! head -n 1 "$folder/.psann-stamp" | grep -q " $libtorch_version $flavour\$"; then
        die "\`$folder\` holds another libtorch ($(head -n 1 "$folder/.psann-stamp")); psann wants $libtorch_version $flavour" \
            "name another folder in PSANN_LIBTORCH, or choose the device with PSANN_DEVICE"
    fi
    require_space

    temporary=$folder.tmp.$$
    trap 'rm -rf "$temporary"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir "$temporary" "$temporary/wheels" "$temporary/pip"
    say "fetching libtorch $libtorch_version ($flavour) into $folder: about $download to download, once"
    fetch_wheels
    say "unpacking libtorch"
    mkdir "$temporary/libtorch"
    python3 "$root/tools/setup/unpack.py" "$flavour" "$root/tools/setup/libtorch-$flavour.pins" \
        "$temporary/wheels" "$temporary/libtorch" || exit 2
    require_loadable
    write_stamp "$temporary/libtorch" || die "cannot write into \`$parent\`" "is the disk full?"
    # Only ours, and damaged, or we would not be here. `-T`: never into a folder that appeared meanwhile.
    [ ! -e "$folder" ] || mv -T "$folder" "$temporary/damaged"
    mv -T "$temporary/libtorch" "$folder" || libtorch_is_complete ||
        die "cannot move libtorch to \`$folder\`" "remove what is there, then run the command again"
    say "libtorch is ready"
)

# The lock is the kernel's and dies with its holders, so there are no stale ones. It only spares a second download and
# guards the clean-up of leftovers: where it cannot be had (a file system without locks), the rename still decides.
lock_libtorch() {
    exec 9>"$folder.lock" || die "cannot write \`$folder.lock\`" "name a folder you can write to in PSANN_LIBTORCH"
    status=0
    flock -n 9 2>/dev/null || status=$?
    if [ "$status" = 1 ]; then
        say "another run is fetching libtorch: waiting for it"
        status=0
        flock 9 || status=$?
    fi
    [ "$status" != 0 ] || rm -rf "$folder".tmp.*
}

require_platform() {
    platform=$(uname -s)-$(uname -m)
    case $platform in
    Linux-x86_64) ;;
    *)
        die "psann can fetch libtorch only for Linux on x86_64, and this is $platform" \
            "set LIBTORCH to a libtorch $libtorch_version built for this machine"
        ;;
    esac
    getconf GNU_LIBC_VERSION >/dev/null 2>&1 ||
        die "the libtorch that psann fetches needs glibc" "set LIBTORCH to a libtorch $libtorch_version built for this machine"
}

require_pip() {
    command -v python3 >/dev/null 2>&1 ||
        die "python3 not found: it is needed once, to fetch libtorch" \
            "install Python 3 with pip (\`sudo apt install python3-pip\`), or set LIBTORCH to a libtorch $libtorch_version"
    python3 -m pip --version >/dev/null 2>&1 ||
        die "python3 has no pip: it is needed once, to fetch libtorch" \
            "install it (\`sudo apt install python3-pip\` or \`python3 -m ensurepip --user\`), or set LIBTORCH to a libtorch $libtorch_version"
}

# Room for the wheels, pip's copy of the largest and the unpacked files. Also sets `download`, the size to announce.
require_space() {
    case $flavour in
    cpu) needed=3 download="540 MB" ;;
    cuda) needed=8 download="2.5 GB" ;;
    esac
    free=$(df -Pk "$parent" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "${free:-$needed}" -ge "$needed" ] ||
        die "\`$parent\` has $free GB free; fetching libtorch takes $needed GB" \
            "free some space, or name a folder on another disk in PSANN_LIBTORCH"
}

# One call for each wheel, since old pips take one platform only. The interpreter is named so that every user's Python
# gets the same file, with the one pinned hash. pip's temporary files stay beside the target: /tmp may be small.
fetch_wheels() {
    grep -v '^#' "$root/tools/setup/libtorch-$flavour.pins" >"$temporary/pins"
    while read -r name version platform _; do
        TMPDIR=$temporary/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 \
            python3 -m pip download --no-deps --no-cache-dir --only-binary=:all: --dest "$temporary/wheels" \
            --implementation cp --python-version 3.11 --platform "$platform" "$name==$version" </dev/null >&2 ||
            die "pip could not download $name $version (its message is above)" \
                "check the network, then run the command again; proxies and mirrors are taken from pip's own configuration"
    done <"$temporary/pins"
}

# Finds an old glibc or a forgotten wheel now rather than in the first program that starts.
require_loadable() {
    missing=$(ldd "$temporary/libtorch/torch/lib/libtorch_cpu.so" 2>&1 | grep 'not found' | head -n 1) || true
    [ -z "$missing" ] ||
        die "libtorch cannot be loaded on this machine: $missing" \
            "it needs glibc 2.28 or newer and libstdc++; or set LIBTORCH to a libtorch $libtorch_version built for this machine"
}

# Plain cargo finds libtorch through this link (see .cargo/config.toml).
link_libtorch() {
    link=$root/.psann/libtorch
    old=$(readlink "$link" || true)
    [ "$old" != "$folder" ] || return 0
    mkdir -p "$root/.psann"
    { ln -s "$folder" "$link.$$" && mv -Tf "$link.$$" "$link"; } ||
        die "cannot make the link \`$link\`" "remove what is there, then run the command again"
    # Cargo sees the link's name, which stays; what was linked against another folder must be made anew.
    if [ -n "$old" ]; then
        say "libtorch moved to $folder: rebuilding what links to it"
        (cd "$root" && cargo clean --quiet --package torch-sys --package psann-torch) || true
    fi
}
