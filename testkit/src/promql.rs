//! Parts of PromQL expressions.

/// The selectors of an expression: each metric with its labels, as `name{…}`.
pub fn selectors(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|sign: char| is_name(sign) || "{\"'".contains(sign)) {
        rest = &rest[start..];
        let name = rest.find(|sign| !is_name(sign)).unwrap_or(rest.len());
        let mut length = name + braces(&rest[name..]);
        if ["warren_", "process_", "rabbitmq_", "ALERTS"].iter().any(|it| rest.starts_with(it)) {
            found.push(&rest[..length]);
        } else if name == 0 {
            // A string, or labels without a name.
            length = length.max(1);
        }
        rest = &rest[length..];
    }
    found
}

/// The expression without filters: comparisons return 0 or 1, and `unless` becomes `and`. It returns data if all of its
/// parts do, and if their labels match.
pub fn unfiltered(expression: &str) -> String {
    let mut text = String::new();
    let mut rest = expression;
    while !rest.is_empty() {
        let word = rest.find(|sign| !is_name(sign)).unwrap_or(rest.len());
        let compare = ["==", "!=", "<=", ">=", "<", ">"].iter().find(|it| rest.starts_with(**it));
        let length = match compare {
            Some(sign) => {
                text.push_str(sign);
                text.push_str(" bool ");
                sign.len()
            }
            None if &rest[..word] == "unless" => {
                text.push_str("and");
                word
            }
            None => {
                let next = rest.chars().next().map_or(0, char::len_utf8);
                let length = word.max(braces(rest)).max(next);
                text.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    text
}

fn is_name(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '_' || sign == ':'
}

/// Length of the labels at the beginning of a text.
fn braces(text: &str) -> usize {
    if !text.starts_with('{') {
        return 0;
    }
    let mut quoted = false;
    let end = text.find(|sign| {
        quoted ^= sign == '"';
        sign == '}' && !quoted
    });
    end.map_or(text.len(), |end| end + 1)
}

#[test]
fn selectors_of_an_expression_are_found() {
    let expression = "sum by (pod) (rate(warren_a_total{x=\"}\", y!=\"z\"}[5m])) / process_b > 1 unless warren_c";
    let parts = ["warren_a_total{x=\"}\", y!=\"z\"}", "process_b", "warren_c"];
    assert_eq!(selectors(expression), parts);
}

#[test]
fn unfiltered_expression_returns_data_for_all_series() {
    let expression = "warren_a{x!=\"y\"} > 1 and on (pod) warren_b == 0 unless on (pod) unlessful";
    let other =
        "warren_a{x!=\"y\"} > bool  1 and on (pod) warren_b == bool  0 and on (pod) unlessful";
    assert_eq!(unfiltered(expression), other);
}
