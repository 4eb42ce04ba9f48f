// Package stateful exports a plugin that keeps state over batches. A program that imports it needs `allow: [state]`.
package stateful

import "sawlog"

// Register makes p the plugin that this program is. Call it in an init function.
func Register(p sawlog.Stateful) { sawlog.Register(p) }
