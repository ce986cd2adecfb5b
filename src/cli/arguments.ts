/** `--qmp SOCKET` in the place of INPUT: the socket moves to where the command expects its input, behind the command's name. */

export function withQmp(args: readonly string[]): string[] {
  const at = args.findIndex((word) => word === '--qmp' || word.startsWith('--qmp='))
  if (at < 1 || args.indexOf('--') >= 0) return [...args]
  const joined = args[at]!.startsWith('--qmp=')
  const socket = joined ? args[at]!.slice('--qmp='.length) : args[at + 1]
  if (socket === undefined || socket === '') return [...args]
  const rest = [...args.slice(0, at), ...args.slice(at + (joined ? 1 : 2))]
  return [rest[0]!, socket, ...rest.slice(1)]
}
