/** A QEMU that answers the few commands that a reader of guests needs, on a unix socket, for tests. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface FakeGuest {
  /** Bytes of RAM, at `ramBase`. */
  readonly ram: Buffer
  readonly ramBase: number
  /** `intel-iommu`; null: none. */
  readonly iommu: string | null
  readonly mmioBase: number
  /** By offset: value and width. */
  readonly registers: ReadonlyMap<number, { readonly bytes: 4 | 8; readonly value: bigint }>
  /** Whether RAM is a file that can be shared. */
  readonly shared: boolean
  readonly pci?: unknown
}

export class FakeQemu {
  readonly path: string
  /** Commands that came, in order. */
  readonly commands: string[] = []
  /** Sent instead of the greeting. */
  greeting = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "test"}, "capabilities": []}}'
  running = true
  readonly #folder = mkdtempSync(join(tmpdir(), 'iomm-qmp-'))
  readonly #guest: FakeGuest
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #ramFile: string

  constructor(guest: FakeGuest) {
    this.#guest = guest
    this.path = join(this.#folder, 'qmp')
    this.#ramFile = join(this.#folder, 'ram')
    if (guest.shared) writeSparse(this.#ramFile, guest.ram)
    this.#server = createServer((socket) => this.#serve(socket))
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.path, resolve))
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
    rmSync(this.#folder, { recursive: true })
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.write(`${this.greeting}\r\n`)
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const {
          execute,
          arguments: args,
          id,
        } = JSON.parse(text.slice(0, end)) as {
          execute: string
          arguments: Record<string, string>
          id: number
        }
        text = text.slice(end + 1)
        this.commands.push(execute === 'human-monitor-command' ? args['command-line']! : execute)
        // Events come in between at any time.
        socket.write('{"event": "RTC_CHANGE", "data": {"offset": 0}}\r\n')
        const answer = this.#answer(execute, args)
        socket.write(
          `${JSON.stringify(answer === undefined ? { error: { class: 'GenericError', desc: `no ${execute}` }, id } : { return: answer, id })}\r\n`,
        )
      }
    })
  }

  #answer(command: string, args: Record<string, string>): unknown {
    const { shared, pci, ram } = this.#guest
    if (command === 'qmp_capabilities') return {}
    if (command === 'query-status') return { running: this.running, status: 'running' }
    if (command === 'stop' || command === 'cont') {
      this.running = command === 'cont'
      return {}
    }
    if (command === 'query-pci') return pci
    if (command === 'qom-get') {
      if (args.path !== '/objects/ram') return undefined
      return {
        type: shared ? 'memory-backend-file' : 'memory-backend-ram',
        share: true,
        'mem-path': this.#ramFile,
        size: ram.length,
      }[args.property!]
    }
    return command === 'human-monitor-command' ? this.#monitor(args['command-line']!) : undefined
  }

  #monitor(line: string): string {
    const { iommu, mmioBase, ram, ramBase } = this.#guest
    const hex = (value: number | bigint) => value.toString(16).padStart(16, '0')
    if (line === 'info qtree')
      return `bus: main-system-bus\r\n  type System\r\n${iommu === null ? '' : `  dev: ${iommu}, id ""\r\n    aw-bits = 48 (0x30)\r\n    mmio ${hex(mmioBase)}/0000000000001000\r\n`}`
    if (line === 'info mtree -f') {
      // RAM lies in the file after a hole of a page, as behind the hole below 4 GiB on x86.
      const range = `${hex(ramBase)}-${hex(ramBase + ram.length - 1)} (prio 0, ram): ram`
      return `FlatView #0\r\n AS "nvme", root: bus master container\r\n Root memory region: (none)\r\n  No rendered FlatView\r\n\r\nFlatView #1\r\n AS "memory", root: system\r\n Root memory region: system\r\n  ${range} KVM\r\n`
    }
    const xp = /^xp \/(\d+)([wg])x 0x([0-9a-f]+)$/.exec(line)
    return xp === null ? `unknown command: '${line}'\r\n` : this.#xp(Number(xp[1]), xp[2] === 'w' ? 4 : 8, Number(`0x${xp[3]}`))
  }

  #xp(count: number, bytes: 4 | 8, address: number): string {
    const { mmioBase, registers, ram, ramBase } = this.#guest
    const lines: string[] = []
    for (let index = 0; index < count; index++) {
      const at = address + index * bytes
      const register = registers.get(at - mmioBase)
      let value = register !== undefined && register.bytes === bytes ? register.value : 0n
      if (at >= ramBase && at + bytes <= ramBase + ram.length)
        value = bytes === 8 ? ram.readBigUInt64LE(at - ramBase) : BigInt(ram.readUInt32LE(at - ramBase))
      lines.push(`${at.toString(16).padStart(16, '0')}: 0x${value.toString(16).padStart(bytes * 2, '0')}`)
    }
    return `${lines.join('\r\n')}\r\n`
  }
}

/** Pages that are not zero; the rest is a hole. */
function writeSparse(path: string, bytes: Buffer): void {
  const file = openSync(path, 'w')
  const zero = Buffer.alloc(4096)
  for (let at = 0; at < bytes.length; at += 4096) {
    const page = bytes.subarray(at, at + 4096)
    if (!page.equals(zero.subarray(0, page.length))) writeSync(file, page, 0, page.length, at)
  }
  ftruncateSync(file, bytes.length)
  closeSync(file)
}
