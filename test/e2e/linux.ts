/**
 * A small Linux under QEMU for the end-to-end test: Debian's cloud kernel (its NVMe driver and Intel IOMMU are built in) and an initramfs with
 * nothing but busybox. Packages are unpacked into a cache folder; only QEMU itself is installed, and only where IOMM_E2E=1 allows it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

const QEMU = 'qemu-system-x86_64'
const CACHE = join(import.meta.dirname, '../../node_modules/.cache/iomm-e2e')
const BOOT_SECONDS = 240

/** What the guest is started from. */
export interface GuestFiles {
  readonly kernel: string
  readonly busybox: string
}

/** A reason why the test cannot run here, in plain words. */
export class CannotRun extends Error {}

function run(program: string, args: readonly string[], cwd?: string): string {
  return execFileSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 300_000,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    ...(cwd === undefined ? {} : { cwd }),
  })
}

function has(program: string): boolean {
  try {
    run('sh', ['-c', `command -v ${program}`])
    return true
  } catch {
    return false
  }
}

/** Makes sure that all is there. @throws CannotRun */
export function prepare(): GuestFiles {
  const allowed = process.env.IOMM_E2E === '1'
  if (!has(QEMU)) {
    if (!allowed)
      throw new CannotRun(`${QEMU} is not installed; IOMM_E2E=1 lets this test install it (as root, from Debian's packages)`)
    install('qemu-system-x86')
  }
  const known = { kernel: join(CACHE, 'vmlinuz'), busybox: join(CACHE, 'busybox') }
  if (existsSync(known.kernel) && existsSync(known.busybox)) return known
  if (!allowed) throw new CannotRun('no kernel is there to boot; IOMM_E2E=1 lets this test download one of Debian')
  if (!has('apt-get') || !has('dpkg-deb')) throw new CannotRun('the kernel comes from a Debian package, and this is no Debian')
  if (run('dpkg', ['--print-architecture']).trim() !== 'amd64')
    throw new CannotRun("the guest is an amd64 one, and this machine's packages are not")
  mkdirSync(CACHE, { recursive: true })
  const meta = attempt(() => run('apt-cache', ['depends', 'linux-image-cloud-amd64']))
  const kernel = /Depends: (linux-image-\S+)/.exec(meta)?.[1]
  if (kernel === undefined) throw new CannotRun('no kernel package is known: linux-image-cloud-amd64')
  take(unpacked(kernel), /^vmlinuz-/, 'boot', known.kernel)
  take(unpacked('busybox-static'), /^busybox$/, has('true') ? 'bin' : 'usr/bin', known.busybox)
  return known
}

function install(name: string): void {
  if (process.getuid?.() !== 0 || !has('apt-get'))
    throw new CannotRun(`${name} has to be installed, and this is not root on Debian`)
  attempt(() => run('apt-get', ['install', '-y', '--no-install-recommends', name]))
}

/** Package lists may be old or missing: once more after an update. */
function attempt(action: () => string): string {
  try {
    return action()
  } catch {
    try {
      run('apt-get', ['update'])
      return action()
    } catch (error) {
      throw new CannotRun(`packages cannot be had: ${(error as Error).message.split('\n')[0]}`)
    }
  }
}

/** Downloads a package and unpacks it. @returns the folder. */
function unpacked(name: string): string {
  const folder = join(CACHE, name)
  mkdirSync(folder, { recursive: true })
  attempt(() => run('apt-get', ['download', name], folder))
  const file = readdirSync(folder).find((entry) => entry.endsWith('.deb'))
  if (file === undefined) throw new CannotRun(`${name}: nothing was downloaded`)
  run('dpkg-deb', ['-x', file, 'files'], folder)
  return folder
}

function take(folder: string, name: RegExp, where: string, to: string): void {
  const from = [where, `usr/${where}`].map((path) => join(folder, 'files', path)).find((path) => existsSync(path))
  const file = from === undefined ? undefined : readdirSync(from).find((entry) => name.test(entry))
  if (file === undefined) throw new CannotRun(`${folder} holds no file like ${name}`)
  writeFileSync(to, readFileSync(join(from!, file)))
  rmSync(folder, { recursive: true })
}

const INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
echo "iomm: ready"
while true; do /bin/busybox sleep 1000; done
`

/** An archive as the kernel unpacks it: cpio, "new ASCII" form. Linux: Documentation/driver-api/early-userspace/buffer-format.rst. */
function initramfs(busybox: Buffer): Buffer {
  const parts: Buffer[] = []
  const entries: [string, number, Buffer][] = [
    ...['dev', 'proc', 'sys', 'bin'].map((name): [string, number, Buffer] => [name, 0o40755, Buffer.alloc(0)]),
    ['bin/busybox', 0o100755, busybox],
    ['init', 0o100755, Buffer.from(INIT)],
    ['TRAILER!!!', 0, Buffer.alloc(0)],
  ]
  entries.forEach(([name, mode, data], index) => {
    const numbers = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0]
    const head = Buffer.from(`070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}${name}\0`)
    parts.push(head, Buffer.alloc((4 - (head.length % 4)) % 4), data, Buffer.alloc((4 - (data.length % 4)) % 4))
  })
  return gzipSync(Buffer.concat(parts))
}

export class Guest {
  readonly folder = mkdtempSync(join(tmpdir(), 'iomm-e2e-'))
  readonly socket = join(this.folder, 'qmp')
  readonly #log = join(this.folder, 'serial')
  #process: ChildProcess | null = null
  #said = ''

  /** Boots it, until its init has begun. @throws Error with what it printed. */
  async boot({ kernel, busybox }: GuestFiles): Promise<void> {
    const at = (name: string) => join(this.folder, name)
    writeFileSync(at('initrd'), initramfs(readFileSync(busybox)))
    writeFileSync(at('disk'), '')
    truncateSync(at('disk'), 16 << 20)
    const args = [
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-accel', 'tcg', '-smp', '1', '-m', '256M', '-cpu', 'max'],
      ...['-object', `memory-backend-file,id=ram,size=256M,mem-path=${at('ram')},share=on`],
      ...['-M', 'q35,memory-backend=ram,kernel-irqchip=split', '-device', 'intel-iommu,intremap=on'],
      ...['-kernel', kernel, '-initrd', at('initrd'), '-append', 'console=ttyS0 panic=-1 intel_iommu=on iommu=nopt'],
      ...['-serial', `file:${this.#log}`, '-qmp', `unix:${this.socket},server=on,wait=off`],
      ...[
        '-drive',
        `if=none,id=d,format=raw,file=${at('disk')}`,
        '-device',
        'nvme,drive=d,serial=x,addr=0x2',
        '-device',
        'edu,addr=0x7',
      ],
    ]
    const child = spawn(QEMU, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    child.stderr.on('data', (text: Buffer) => {
      this.#said += text.toString()
    })
    for (let waited = 0; !this.log().includes('iomm: ready'); waited++) {
      if (child.exitCode !== null) throw new Error(`QEMU ended: ${this.#said}${this.log().slice(-2000)}`)
      if (waited > BOOT_SECONDS * 4) throw new Error(`the guest did not come up in ${BOOT_SECONDS} s: ${this.log().slice(-2000)}`)
      await sleep(250)
    }
  }

  /** What the kernel printed. */
  log(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : ''
  }

  async stop(): Promise<void> {
    const child = this.#process
    if (child !== null && child.exitCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
    }
    rmSync(this.folder, { recursive: true, force: true })
  }
}
