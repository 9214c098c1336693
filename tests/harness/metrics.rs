//! The metrics of `/metrics`, by name and labels.

/// One scrape.
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    pub(crate) fn read(page: &str) -> Self {
        let samples = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self(samples.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect())
    }

    /// Returns the sum of all series with this name and these labels, or `None` if there are none. A label is written
    /// `method="GetMovie"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let fits = |series: &str| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label))
        };
        self.0.iter().filter(|(series, _)| fits(series)).map(|(_, value)| *value).reduce(|sum, value| sum + value)
    }
}
