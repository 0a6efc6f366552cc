//! The registry, as the binary shows it.

use super::support::Scratch;

#[test]
fn every_built_in_is_registered() {
    insta::assert_snapshot!("plugin_list", Scratch::new().ok(&["plugin", "list"]));
}

#[test]
fn a_plugin_shows_its_options() {
    insta::assert_snapshot!("plugin_info_adamw", Scratch::new().ok(&["plugin", "info", "adamw"]));
}

#[test]
fn a_misspelt_plugin_gets_a_suggestion() {
    let ended = Scratch::new().run(&["plugin", "info", "waveresnt"]);
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.err,
        "error: no plugin is called `waveresnt`\n  hint: did you mean `waveresnet`? (`psann plugin list` shows all)\n"
    );
}

/// A recipe writes options as bare map keys, so none may be a word that Rhai keeps for itself.
#[test]
fn no_option_or_plugin_is_a_reserved_word_of_recipes() {
    let list: serde_json::Value = serde_json::from_str(&Scratch::new().ok(&["plugin", "list", "--json"])).unwrap();
    let reserved = psann_scripts::reserved_words();
    for plugin in list.as_array().unwrap() {
        let name = plugin["name"].as_str().unwrap();
        assert!(!reserved.contains(&name), "plugin `{name}`");
        let label = format!("{}/{name}", plugin["kind"].as_str().unwrap());
        let schema: serde_json::Value =
            serde_json::from_str(&Scratch::new().ok(&["plugin", "info", &label, "--json"])).unwrap();
        check_keys(&schema, reserved, &label);
    }
}

fn check_keys(schema: &serde_json::Value, reserved: &[&str], label: &str) {
    if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
        for (key, inner) in properties {
            assert!(!reserved.contains(&key.as_str()), "option `{key}` of {label}");
            check_keys(inner, reserved, label);
        }
    }
    for parts in ["anyOf", "oneOf"] {
        for part in schema.get(parts).and_then(serde_json::Value::as_array).into_iter().flatten() {
            check_keys(part, reserved, label);
        }
    }
}
