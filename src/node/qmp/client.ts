/**
 * The QEMU Machine Protocol: a command at a time, over a unix socket. QEMU documentation, "QEMU Machine Protocol Specification": messages are
 * JSON, one to a line; a greeting first; events come in between.
 */
import { createConnection, type Socket } from 'node:net'
import * as v from 'valibot'
import { InputError } from '../errors.ts'

const Greeting = v.looseObject({
  QMP: v.looseObject({
    version: v.looseObject({ qemu: v.looseObject({ major: v.number(), minor: v.number(), micro: v.number() }) }),
  }),
})
const Answer = v.looseObject({
  return: v.optional(v.unknown()),
  error: v.optional(v.looseObject({ class: v.string(), desc: v.string() })),
  event: v.optional(v.string()),
  id: v.optional(v.unknown()),
})

/** So long a message of QEMU may be: the flat view of a machine with thousands of devices has some MiB. */
const LINE_LIMIT = 64 * 2 ** 20

export interface QmpOptions {
  /** How long to wait for an answer, in milliseconds. */
  readonly timeout?: number
}

/** A command that QEMU refused. */
export class QmpRefusal extends Error {}

export class Qmp {
  readonly path: string
  /** `10.0.2`. */
  version = ''
  readonly #socket: Socket
  readonly #timeout: number
  #pieces: string[] = []
  #length = 0
  #waiting: { resolve(line: string): void; reject(error: Error): void } | null = null
  #lines: string[] = []
  #failed: Error | null = null
  #next = 1

  private constructor(path: string, socket: Socket, timeout: number) {
    this.path = path
    this.#socket = socket
    this.#timeout = timeout
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.#take(text))
    socket.on('error', (error) => this.#fail(new InputError(path, null, error.message)))
    socket.on('close', () => this.#fail(new InputError(path, null, 'QEMU closed the connection')))
  }

  /**
   * Connects and takes the greeting.
   * @throws InputError when nothing answers there, or what answers is not QMP.
   */
  static async connect(path: string, { timeout = 10_000 }: QmpOptions = {}): Promise<Qmp> {
    const socket = createConnection(path)
    const qmp = new Qmp(path, socket, timeout)
    try {
      const greeting = v.safeParse(Greeting, parse(await qmp.#line('a greeting')))
      if (!greeting.success) throw new InputError(path, null, 'this socket does not speak QMP: it did not greet as QEMU does')
      const { major, minor, micro } = greeting.output.QMP.version.qemu
      qmp.version = `${major}.${minor}.${micro}`
      await qmp.execute('qmp_capabilities')
      return qmp
    } catch (error) {
      qmp.close()
      if (!(error instanceof InputError)) throw error
      const advice = `QEMU offers QMP with -qmp unix:${path},server=on,wait=off, to one client at a time`
      throw new InputError(path, null, `${error.message.slice(path.length + 2)}. ${advice}`)
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  /** One command. @throws QmpRefusal with QEMU's words; InputError when the connection fails. */
  async execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = this.#next++
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    for (;;) {
      const answer = v.safeParse(Answer, parse(await this.#line(`an answer to ${command}`)))
      if (!answer.success) throw new InputError(this.path, null, `${command}: the answer is no QMP message`)
      const { event, error, id: answered } = answer.output
      if (event !== undefined || (answered !== undefined && answered !== id)) continue
      if (error !== undefined) throw new QmpRefusal(`${command}: ${error.desc}`)
      return answer.output.return
    }
  }

  /** A command of the monitor for people; its text. */
  async monitor(line: string): Promise<string> {
    const text = await this.execute('human-monitor-command', { 'command-line': line })
    return typeof text === 'string' ? text : ''
  }

  #take(text: string): void {
    let rest = text
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      this.#pieces.push(rest.slice(0, end))
      const line = this.#pieces.join('')
      this.#pieces = []
      this.#length = 0
      rest = rest.slice(end + 1)
      if (this.#waiting !== null) this.#waiting.resolve(line)
      // Nobody asked: an event. A server that floods is cut off.
      else if (this.#lines.push(line) > 10_000) this.#fail(new InputError(this.path, null, 'sends without being asked'))
      this.#waiting = null
    }
    this.#pieces.push(rest)
    this.#length += rest.length
    if (this.#length > LINE_LIMIT)
      this.#fail(new InputError(this.path, null, `sends a message of more than ${LINE_LIMIT} characters`))
  }

  #fail(error: Error): void {
    this.#failed ??= error
    this.#waiting?.reject(this.#failed)
    this.#waiting = null
    this.#socket.destroy()
  }

  #line(what: string): Promise<string> {
    const ready = this.#lines.shift()
    if (ready !== undefined) return Promise.resolve(ready)
    if (this.#failed !== null) return Promise.reject(this.#failed)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#fail(new InputError(this.path, null, `no answer within ${this.#timeout / 1000} s (waiting for ${what})`)),
        this.#timeout,
      )
      const done =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer)
          then(value)
        }
      this.#waiting = { resolve: done(resolve), reject: done(reject) }
    })
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}
