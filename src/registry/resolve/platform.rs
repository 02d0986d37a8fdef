//! Platforms, and the conditions under which a dependency is for one: `cfg(...)` or a target triple.

use std::fmt;
use std::str::FromStr;

/// Conditions nested deeper than this are taken to hold: whoever writes one means nobody well.
const DEPTH_MAX: usize = 32;

/// A platform by its target triple, and what the triple tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    triple: String,
    facts: Vec<(&'static str, String)>,
}

/// A text that is no target triple.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no target triple, such as `x86_64-unknown-linux-gnu`")]
pub struct NoPlatform(String);

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.triple)
    }
}

impl FromStr for Platform {
    type Err = NoPlatform;

    fn from_str(triple: &str) -> Result<Self, NoPlatform> {
        let parts: Vec<_> = triple.split('-').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        };
        if !(2..=4).contains(&parts.len()) || !parts.iter().all(is_word) || triple.len() > 64 {
            return Err(NoPlatform(triple.chars().take(80).collect()));
        }
        let (arch, rest) = (parts[0], &parts[1..]);
        let has = |word: &str| rest.iter().any(|part| part.starts_with(word));
        let (os, family) = system(&has);
        let arch = architecture(arch);
        let vendor = match rest.len() {
            1 => "unknown",
            _ => rest[0],
        };
        let env = ["gnu", "musl", "msvc", "sgx", "ohos", "uclibc", "newlib"];
        let env = env
            .into_iter()
            .find(|env| rest.last().is_some_and(|last| last.starts_with(env)));
        let width = match arch {
            "x86" | "arm" | "riscv32" | "wasm32" | "mips" | "powerpc" | "sparc" | "m68k" => "32",
            "avr" | "msp430" => "16",
            _ if has("gnux32") || has("gnu_ilp32") => "32",
            _ => "64",
        };
        let is_big = matches!(arch, "s390x" | "sparc" | "sparc64" | "m68k")
            || (matches!(arch, "mips" | "mips64" | "powerpc" | "powerpc64")
                && !parts[0].contains("el")
                && !parts[0].ends_with("le"));
        let mut facts = vec![
            ("target_arch", arch.to_owned()),
            ("target_os", os.to_owned()),
            ("target_vendor", vendor.to_owned()),
            ("target_env", env.unwrap_or_default().to_owned()),
            ("target_pointer_width", width.to_owned()),
            (
                "target_endian",
                if is_big { "big" } else { "little" }.to_owned(),
            ),
        ];
        facts.extend(family.map(|family| ("target_family", family.to_owned())));
        if arch.starts_with("wasm") {
            facts.push(("target_family", "wasm".to_owned()));
        }
        Ok(Self {
            triple: triple.to_owned(),
            facts,
        })
    }
}

impl Platform {
    /// Whether a dependency with this condition is for this platform. A condition that cannot be read holds: too
    /// much is no wrong build.
    pub fn fits(&self, condition: &str) -> bool {
        let condition = condition.trim();
        let Some(inner) = condition.strip_prefix("cfg(") else {
            return condition == self.triple;
        };
        let mut text = Text {
            rest: inner,
            platform: self,
        };
        text.condition(0).unwrap_or(true)
    }

    fn is(&self, key: &str, value: &str) -> bool {
        let mut facts = self.facts.iter();
        facts.any(|(name, fact)| *name == key && fact == value)
    }
}

/// The operating system and its family.
fn system(has: &impl Fn(&str) -> bool) -> (&'static str, Option<&'static str>) {
    const SYSTEMS: &[(&str, &str, Option<&str>)] = &[
        ("android", "android", Some("unix")),
        ("linux", "linux", Some("unix")),
        ("darwin", "macos", Some("unix")),
        ("macos", "macos", Some("unix")),
        ("ios", "ios", Some("unix")),
        ("tvos", "tvos", Some("unix")),
        ("watchos", "watchos", Some("unix")),
        ("windows", "windows", Some("windows")),
        ("freebsd", "freebsd", Some("unix")),
        ("netbsd", "netbsd", Some("unix")),
        ("openbsd", "openbsd", Some("unix")),
        ("dragonfly", "dragonfly", Some("unix")),
        ("illumos", "illumos", Some("unix")),
        ("solaris", "solaris", Some("unix")),
        ("haiku", "haiku", Some("unix")),
        ("fuchsia", "fuchsia", Some("unix")),
        ("redox", "redox", Some("unix")),
        ("emscripten", "emscripten", Some("unix")),
        ("wasi", "wasi", None),
        ("uefi", "uefi", None),
        ("hermit", "hermit", Some("unix")),
        ("none", "none", None),
    ];
    let found = SYSTEMS.iter().find(|(word, ..)| has(word));
    found.map_or(("unknown", None), |(_, os, family)| (os, *family))
}

/// The architecture as conditions name it.
fn architecture(first: &str) -> &str {
    match first {
        "i386" | "i586" | "i686" => "x86",
        "powerpc64le" => "powerpc64",
        "mipsel" => "mips",
        "mips64el" => "mips64",
        "arm64" | "arm64e" | "aarch64_be" => "aarch64",
        arm if arm.starts_with("arm") || arm.starts_with("thumb") => "arm",
        riscv if riscv.starts_with("riscv32") => "riscv32",
        riscv if riscv.starts_with("riscv64") => "riscv64",
        wasm if wasm.starts_with("wasm32") => "wasm32",
        other => other,
    }
}

/// What is left of a condition.
struct Text<'a> {
    rest: &'a str,
    platform: &'a Platform,
}

impl<'a> Text<'a> {
    /// Reads one condition; nothing if it cannot be read.
    fn condition(&mut self, depth: usize) -> Option<bool> {
        if depth > DEPTH_MAX {
            return None;
        }
        let word = self.word()?;
        if self.take('(') {
            let mut holds = Vec::new();
            while !self.take(')') {
                holds.push(self.condition(depth + 1)?);
                self.take(',');
            }
            return match word {
                "all" => Some(holds.iter().all(|holds| *holds)),
                "any" => Some(holds.iter().any(|holds| *holds)),
                "not" => Some(!*holds.first()?),
                _ => None,
            };
        }
        if !self.take('=') {
            return Some(match word {
                "unix" | "windows" => self.platform.is("target_family", word),
                "true" => true,
                // Flags of a build, such as `test`, are not set for dependencies.
                _ => false,
            });
        }
        let value = self.rest.trim_start().strip_prefix('"')?;
        let (value, rest) = value.split_once('"')?;
        self.rest = rest;
        Some(self.platform.is(word, value))
    }

    fn word(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn take(&mut self, mark: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_hold_where_a_compiler_says_so() {
        let linux: Platform = "x86_64-unknown-linux-gnu".parse().unwrap();
        let windows: Platform = "i686-pc-windows-msvc".parse().unwrap();
        let mac: Platform = "aarch64-apple-darwin".parse().unwrap();
        let wasm: Platform = "wasm32-unknown-unknown".parse().unwrap();
        for (condition, expected) in [
            ("cfg(unix)", [true, false, true, false]),
            ("cfg(windows)", [false, true, false, false]),
            ("cfg(not(windows))", [true, false, true, true]),
            ("cfg(target_os = \"macos\")", [false, false, true, false]),
            (
                "cfg(any(target_arch = \"x86\", all(unix, target_env = \"gnu\")))",
                [true, true, false, false],
            ),
            (
                "cfg(target_pointer_width = \"64\")",
                [true, false, true, false],
            ),
            (
                "cfg(target_vendor = \"apple\")",
                [false, false, true, false],
            ),
            ("x86_64-unknown-linux-gnu", [true, false, false, false]),
            ("cfg(all())", [true; 4]),
            ("cfg(any())", [false; 4]),
            ("cfg(test)", [false; 4]),
            // Cannot be read, so it holds.
            ("cfg(target_os = macos)", [true; 4]),
        ] {
            let found = [&linux, &windows, &mac, &wasm].map(|platform| platform.fits(condition));
            assert_eq!(found, expected, "{condition}");
        }
        let deep = format!("cfg({}{})", "not(".repeat(90_000), ")".repeat(90_000));
        assert!(linux.fits(&deep));
        assert!("linux".parse::<Platform>().is_err());
        assert!("x86_64-\"-gnu".parse::<Platform>().is_err());
    }
}
