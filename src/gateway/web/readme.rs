//! Turns a README, which anybody may have written, into markup that can do nothing but be read.
//!
//! Two walls: comrak makes well-formed markup of the text, and ammonia leaves only what is on a list here. No styles,
//! no classes, no ids, no pictures, no addresses but `http`, `https` and `mailto`. Around them stand bounds, for a
//! text can be made so that reading it takes time or memory out of proportion.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ammonia::UrlRelative;
use comrak::arena_tree::NodeEdge;
use comrak::nodes::NodeValue;
use comrak::options::{Extension, Options, Render};
use comrak::{Arena, Node, format_html, try_parse_document};

/// Bytes of a text that are shown: more than all but a handful of READMEs have.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// Bytes of the markup made of it.
const MARKUP_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;
/// How deep quotes, lists and emphasis may stand in each other: time to clean markup grows with it.
const DEPTH_MAX: usize = 64;
/// Tags in the text's own markup times tags in all: an unclosed one may be repeated in everything after it.
const TAGS_PRODUCT_MAX: usize = 1_000_000;
/// How long reading the text may take.
const PARSE_TIME_MAX: Duration = Duration::from_secs(1);

/// What is left standing; of other tags only the text.
const TAGS: &[&str] = &[
    "a",
    "abbr",
    "b",
    "blockquote",
    "br",
    "code",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "ins",
    "kbd",
    "li",
    "mark",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strike",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
];
/// Tags that go with their content, which is no text for readers.
const TAGS_WITHOUT_TEXT: &[&str] = &[
    "iframe", "math", "noembed", "noframes", "noscript", "object", "script", "select", "style",
    "svg", "template", "textarea", "title", "xmp",
];

static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let aligned = || HashSet::from(["align"]);
    let mut cleaner = ammonia::Builder::empty();
    cleaner
        .tags(TAGS.iter().copied().collect())
        .clean_content_tags(TAGS_WITHOUT_TEXT.iter().copied().collect())
        .generic_attributes(HashSet::from(["title"]))
        .tag_attributes(HashMap::from([
            ("a", HashSet::from(["href"])),
            ("ol", HashSet::from(["start"])),
            ("td", aligned()),
            ("th", aligned()),
        ]))
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::Deny)
        // What is wider than the page scrolls, by keyboard, too.
        .set_tag_attribute_value("pre", "tabindex", "0")
        .set_tag_attribute_value("table", "tabindex", "0")
        .link_rel(Some("nofollow noopener noreferrer"))
        .strip_comments(true);
    cleaner
});

/// A README as a page may have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Markup that is safe to put into a page as it is.
    Markup(String),
    /// Text that is shown as it stands, because it is made to be trouble.
    Plain(String),
}

/// Makes a README fit for a page. Takes a while: not for the runtime's threads.
pub(super) fn shown(text: &str) -> Shown {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    match markup(text) {
        Some(markup) => Shown::Markup(with_named_links(&CLEANER.clean(&markup).to_string())),
        None => Shown::Plain(text.to_owned()),
    }
}

fn markup(text: &str) -> Option<String> {
    let arena = Arena::new();
    let deadline = Instant::now() + PARSE_TIME_MAX;
    let past = || Instant::now() >= deadline;
    let root = try_parse_document(&arena, text, &options(true), &past).ok()?;
    let own_tags = adapt(root)?;
    let rendered = render(root, true)?;
    let tags = rendered.bytes().filter(|byte| *byte == b'<').count();
    if own_tags.saturating_mul(tags) <= TAGS_PRODUCT_MAX {
        return Some(rendered);
    }
    render(root, false)
}

fn options(own_markup: bool) -> Options<'static> {
    Options {
        extension: Extension {
            strikethrough: true,
            table: true,
            autolink: true,
            ..Extension::default()
        },
        render: Render {
            r#unsafe: own_markup,
            ..Render::default()
        },
        ..Options::default()
    }
}

fn render(root: Node<'_>, own_markup: bool) -> Option<String> {
    let mut rendered = String::new();
    format_html(root, &options(own_markup), &mut rendered).ok()?;
    (rendered.len() <= MARKUP_BYTES_MAX).then_some(rendered)
}

/// Moves headings below those of the page, and puts words in the place of pictures. The number of tags in the
/// text's own markup; nothing if the text is nested too deep.
fn adapt(root: Node<'_>) -> Option<usize> {
    let (mut depth, mut own_tags) = (0_usize, 0_usize);
    let mut pictures = Vec::new();
    for edge in root.traverse() {
        let NodeEdge::Start(node) = edge else {
            depth = depth.saturating_sub(1);
            continue;
        };
        depth += 1;
        if depth > DEPTH_MAX {
            return None;
        }
        let tags = |markup: &str| markup.bytes().filter(|byte| *byte == b'<').count();
        match &mut node.data_mut().value {
            NodeValue::Heading(heading) => heading.level = (heading.level + 2).min(6),
            NodeValue::HtmlBlock(block) => own_tags += tags(&block.literal),
            NodeValue::HtmlInline(markup) => own_tags += tags(markup),
            NodeValue::Image(_) => pictures.push(node),
            _ => {}
        }
    }
    for picture in pictures {
        while let Some(word) = picture.first_child() {
            picture.insert_before(word);
        }
        picture.detach();
    }
    Some(own_tags)
}

/// Gives links that held only a picture a text, so that they can be seen and read out. Works on what ammonia
/// wrote; the text that it puts in is harmless wherever it lands.
fn with_named_links(clean: &str) -> String {
    let mut named = String::with_capacity(clean.len());
    let mut pieces = clean.split("</a>").peekable();
    while let Some(piece) = pieces.next() {
        named.push_str(piece);
        if pieces.peek().is_none() {
            break;
        }
        let content = piece.rsplit('>').next().unwrap_or_default();
        let last_tag = piece.rfind('<').map(|at| &piece[at..]);
        if content.trim().is_empty() && last_tag.is_some_and(|tag| tag.starts_with("<a ")) {
            named.push_str("[link]");
        }
        named.push_str("</a>");
    }
    named
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn clean(text: &str) -> String {
        match shown(text) {
            Shown::Markup(markup) => markup,
            Shown::Plain(text) => panic!("shown as it stands: {text}"),
        }
    }

    #[test]
    fn a_usual_text_keeps_its_form() {
        let text = "# Title\n\nSome *words* and `code`.\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\n```rust\nfn main() {}\n```\n";
        let markup = clean(text);
        for part in [
            "<h3>Title</h3>",
            "<em>words</em>",
            "<td align=\"center\">2</td>",
            "<pre tabindex=\"0\"><code>fn main() {}",
        ] {
            assert!(markup.contains(part), "{part}: {markup}");
        }
    }

    #[test]
    fn links_lead_out_and_nowhere_else() {
        let markup =
            clean("[a](https://a.example/) [b](javascript:x) [c](/me) [d](data:x) <e@f.example>");
        let rel = "rel=\"nofollow noopener noreferrer\"";
        assert!(markup.contains(&format!("<a href=\"https://a.example/\" {rel}>a</a>")));
        assert!(markup.contains("mailto:e@f.example"));
        assert_eq!(markup.matches("href=").count(), 2, "{markup}");
    }

    #[test]
    fn pictures_become_their_words_and_their_links_stay() {
        let markup = clean(
            "[![build](https://a/b.svg)](https://ci.example/) [![](x)](https://n.example/)\n\n<a href=\"https://h.example/\"><img src=x onerror=y></a>",
        );
        assert!(!markup.contains("img"), "{markup}");
        assert!(markup.contains(">build</a>"), "{markup}");
        assert_eq!(markup.matches(">[link]</a>").count(), 2, "{markup}");
    }

    #[test]
    fn nothing_that_acts_or_dresses_survives() {
        let markup = clean(
            "<script>x</script><p style=\"position:fixed\" class=\"warning\" id=\"q\" onclick=\"x\">t</p>\
             <form action=/me><input name=q></form><iframe src=x></iframe><svg><a href=\"javascript:x\">y</a></svg>",
        );
        assert_eq!(markup.trim(), "<p>t</p>");
    }

    /// The time for any of these is far below what any wait allows; without its bound each takes minutes or gigabytes.
    #[test]
    fn texts_made_to_be_trouble_are_shown_soon() {
        let half = TEXT_BYTES_MAX / 2;
        let unclosed: String = (0..half / 8).map(|at| format!("<b {at}>")).collect();
        let texts = [
            ">".repeat(TEXT_BYTES_MAX),
            "<div>".repeat(TEXT_BYTES_MAX / 5),
            format!("{unclosed}\n\n{}", "a\n\n".repeat(half / 3)),
            "*a _b ".repeat(TEXT_BYTES_MAX / 6),
            "[".repeat(TEXT_BYTES_MAX),
            "![[".repeat(TEXT_BYTES_MAX / 3),
            format!(
                "|{}\n|{}\n{}",
                "a|".repeat(5000),
                "-|".repeat(5000),
                "|\n".repeat(50_000)
            ),
            "- ".repeat(half),
            "`".repeat(TEXT_BYTES_MAX),
            "<".repeat(TEXT_BYTES_MAX),
            "&".repeat(TEXT_BYTES_MAX),
            "**a".repeat(TEXT_BYTES_MAX / 3),
        ];
        for text in texts {
            let start = Instant::now();
            drop(shown(&text));
            let head: String = text.chars().take(20).collect();
            assert!(start.elapsed() < Duration::from_secs(20), "{head}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = "ä".repeat(TEXT_BYTES_MAX);
        assert!(clean(&long).len() <= TEXT_BYTES_MAX + 10);
    }
}
