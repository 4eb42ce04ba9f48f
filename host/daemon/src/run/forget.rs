//! A sink that forgets what it owes and begins anew, on a person's word. What that is, is the core's.

use sawlog_core::SinkId;

use super::parts::Running;

impl Running {
    /// Has the sink give up what is planned and not delivered, in every engine that feeds it. Gives back how many positions that
    /// are; a sentence where it can't be done.
    pub async fn forget(&mut self, name: &str) -> Result<u64, String> {
        if !self.config.sinks.contains_key(name) {
            let known: Vec<&str> = self.config.sinks.keys().map(String::as_str).collect();
            return Err(format!(
                "there is no sink `{name}` in the configuration; the sinks are: {}. One that was taken out and still drains is given \
                 up with `remove: {{ {name}: forget }}` in the configuration, and a reload",
                known.join(", ")
            ));
        }
        // Made first: what can't be opened again is not ended.
        let anew = self.ground.sink(&self.config, name, self.ground.packed()).map_err(|error| error.to_string())?;
        let id = SinkId::new(name);
        let mut positions = 0;
        for engine in
            std::iter::once(self.engine.clone()).chain(self.groups.running().into_iter().map(|(.., p)| p.engine))
        {
            positions += engine.forget(&id).await.map_err(|error| error.to_string())?.unwrap_or_default();
        }
        self.engine.replace_sink(anew).await;
        self.groups.open_anew();
        tracing::warn!(sink = name, positions, "the sink forgets what it had not delivered, as an operator said");
        Ok(positions)
    }
}
