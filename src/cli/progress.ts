/** Progress on stderr, for work of more than a second, and only where a person looks. */

/** How long nothing is shown, and how often it changes. */
const QUIET_MS = 1000
const EVERY_MS = 100

/** @returns call it with what is being done; with null the line is wiped. */
export function progress(stream: NodeJS.WriteStream = process.stderr): (text: string | null) => void {
  if (stream.isTTY !== true) return () => {}
  const started = Date.now()
  let last = 0
  let shown = false
  return (text) => {
    const now = Date.now()
    if (text === null) {
      if (shown) stream.write('\r\u001b[K')
      shown = false
      return
    }
    if (now - started < QUIET_MS || now - last < EVERY_MS) return
    last = now
    shown = true
    stream.write(`\r\u001b[K${text.slice(0, (stream.columns ?? 80) - 1)}`)
  }
}
