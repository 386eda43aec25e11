//! Other servers, each as distributed, in one process on the core for servers.

use crate::Outcome;
use crate::server::Server;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use warren_testkit::ports::free_port;
use warren_testkit::process::Sandbox;

const NGINX: &str = "/usr/sbin/nginx";
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const HINT: &str = "run `scripts/setup bench`, or `apt-get install nginx libnginx-mod-nchan`";

/// The Node recipe that Warren replaces, with RabbitMQ.
pub fn recipe(url: &str) -> Outcome<Server> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/fanout/recipe");
    if !dir.join("node_modules/socket.io").exists() {
        return Err(format!("no modules in {}: run `scripts/setup bench`", dir.display()).into());
    }
    let mut node = Command::new("node");
    node.arg("server.mjs").current_dir(dir);
    node.envs([("AMQP_URL", url), ("EXCHANGE", "recipe"), ("NODE_ENV", "production")]);
    Server::that_prints_its_port(node)
}

/// nginx with nchan: messages arrive by POST and are kept in memory, subscribers use WebSockets.
pub fn nchan() -> Outcome<Server> {
    if !Path::new(NGINX).exists() || !Path::new(NCHAN).exists() {
        return Err(format!("nginx or its module nchan is not installed: {HINT}").into());
    }
    let (sandbox, port) = (Sandbox::new(), free_port());
    let dir = sandbox.dir();
    fs::write(dir.join("nginx.conf"), configuration(port))?;
    let mut nginx = Command::new(NGINX);
    nginx.arg("-p").arg(dir).args(["-e", "error.log", "-c", "nginx.conf"]);
    Server::at((Ipv4Addr::LOCALHOST, port).into(), nginx, sandbox)
}

/// One process, without logs or limits.
fn configuration(port: u16) -> String {
    format!(
        "load_module {NCHAN};
daemon off;
master_process off;
pid nginx.pid;
error_log error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    tcp_nodelay on;
    nchan_message_buffer_length 1000;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /say {{
            nchan_publisher;
            nchan_channel_id $arg_channel;
        }}
        location = /listen {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_channel;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"
    )
}
