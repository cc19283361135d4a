//! A client of the query API, the same for both servers.

use serde_json::Value;

use super::Failure;
use super::answers::Answer;

pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    pub(crate) fn new(url: String) -> Self {
        Self { http: reqwest::Client::new(), url }
    }

    pub(crate) async fn instant(&self, query: &str, at: f64) -> Result<Answer, Failure> {
        self.query("query", &[("query", query.to_owned()), ("time", seconds(at))]).await
    }

    pub(crate) async fn range(
        &self,
        query: &str,
        start: f64,
        end: f64,
        step: f64,
    ) -> Result<Answer, Failure> {
        let times = [("start", seconds(start)), ("end", seconds(end)), ("step", step.to_string())];
        let form: Vec<_> = std::iter::once(("query", query.to_owned())).chain(times).collect();
        self.query("query_range", &form).await
    }

    /// The one number that answers `query`.
    pub(crate) async fn number(&self, query: &str, at: Option<f64>) -> Result<f64, Failure> {
        let mut form = vec![("query", query.to_owned())];
        form.extend(at.map(|at| ("time", seconds(at))));
        let values = self.query("query", &form).await?.values();
        Ok(*values.first().ok_or("no number")?)
    }

    /// The values of all series now.
    pub(crate) async fn numbers(&self, query: &str) -> Result<Vec<f64>, Failure> {
        Ok(self.query("query", &[("query", query.to_owned())]).await?.values())
    }

    /// The `data` of a GET.
    pub(crate) async fn data(&self, path: &str) -> Result<Value, Failure> {
        let answer: Value = self.http.get(format!("{}/api/v1/{path}", self.url)).send().await?.json().await?;
        success(path, &answer)?;
        Ok(answer["data"].clone())
    }

    async fn query(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, Failure> {
        let request = self.http.post(format!("{}/api/v1/{path}", self.url)).form(form);
        let answer: Value = request.send().await?.json().await?;
        success(&form[0].1, &answer).map_err(|e| format!("{}: {e}", self.url))?;
        Ok(Answer::read(&answer["data"])?)
    }
}

fn success(what: &str, answer: &Value) -> Result<(), String> {
    match answer["status"].as_str() {
        Some("success") => Ok(()),
        _ => Err(format!("{what}: {answer}")),
    }
}

fn seconds(t: f64) -> String {
    format!("{t:.3}")
}
