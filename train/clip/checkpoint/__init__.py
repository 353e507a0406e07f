"""Files of adapted CLIPs: this project's folder, and the published layouts."""
