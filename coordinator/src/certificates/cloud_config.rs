//! The cluster-autoscaler's cloud config, as its Deployment in `deploy/` mounts it.
//! In: where the API is. Out: YAML, whose paths are those of the mounted Secret.

use super::SERVICE;

/// The whole file, for a coordinator that issues the certificates itself.
#[must_use]
pub(crate) fn cloud_config(namespace: &str, port: u16) -> String {
    format!(
        "# The host must be a name in the coordinator's certificate.\n\
         address: \"{SERVICE}.{namespace}.svc:{port}\"\n\
         cert: /etc/autoscaler/tls/tls.crt\n\
         key: /etc/autoscaler/tls/tls.key\n\
         cacert: /etc/autoscaler/tls/ca.crt\n\
         grpc_timeout: 5s\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_config_map_holds_the_same() {
        let shipped = include_str!("../../../deploy/cluster-autoscaler.yaml");
        let ours = cloud_config("homelab-autoscaler-system", 50_051);
        let indented: String = ours.lines().map(|line| format!("    {line}\n")).collect();
        assert!(shipped.contains(&indented), "{ours}");
    }
}
