/** What each step of a scenario does to the machine, and what came out of it. */
import { hex, size as sizeText } from '../base/hex.ts'
import { type Op, step } from '../base/op.ts'
import { type Access, type Fault, PR, PW, PX, UR, UW, UX } from '../base/types.ts'
import type { Bond } from '../core/bond.ts'
import { IommError } from '../core/error.ts'
import type { DmaResult, Reached, StaleHit } from './device.ts'
import type { Rights } from './language/shape.ts'
import type { ActionName, Area, PlainStep, StepOf } from './language/steps.ts'
import { bytesText, type Data, dataBytes, naturalLength } from './language/value.ts'
import type { Machine, MachineDevice, Process } from './machine.ts'

/** What came out of a step. */
export interface Outcome {
  /** `refused` splits into `fault` (an event was recorded) and `silent`. */
  readonly result: 'ok' | 'fault' | 'silent' | 'segv' | 'error'
  /** In words. */
  readonly text: string
  /** What the OS side, or the machine, refused. */
  readonly error?: { readonly code: string; readonly message: string }
  readonly fault?: Fault | null
  readonly pasid?: number | null
  readonly data?: Uint8Array
  readonly reached?: readonly Reached[]
  readonly response?: DmaResult['response']
  readonly stale?: readonly StaleHit[]
  readonly bytes?: number
  readonly bonds?: number
  readonly domain?: string | null
  readonly alive?: boolean
}

type Actions = { readonly [K in ActionName]: (machine: Machine, given: StepOf<K>['given']) => Op<Outcome> | Outcome }

const done = (text: string, more: Partial<Outcome> = {}): Outcome => ({ result: 'ok', text, ...more })

/** A scenario's step that makes no sense in the state that the machine is in. */
function mistake(message: string): never {
  throw new IommError('BadArgument', message)
}

const deviceOf = (machine: Machine, name: string): MachineDevice => machine.devices.get(name)!
const processOf = (machine: Machine, name: string): Process =>
  machine.processes.get(name) ?? mistake(`process ${name} does not exist: the fork that would make it did not succeed`)

/** The PASID that a transaction names. */
function pasidOf(machine: Machine, given: { pasid?: number; process?: string; space?: string }): number | null {
  if (given.pasid !== undefined) return given.pasid
  if (given.process !== undefined)
    return (
      processOf(machine, given.process).pasid ?? mistake(`process ${given.process} never had a PASID: bind a device to it first`)
    )
  if (given.space !== undefined)
    return machine.spaces.get(given.space)?.pasid ?? mistake(`private space ${given.space} has no PASID: bindPrivate makes it`)
  return null
}

/** The last bond of this device to the process or private space that still counts. */
function bondOf(machine: Machine, device: MachineDevice, given: { process?: string; space?: string }): Bond {
  const to = given.process === undefined ? given.space! : processOf(machine, given.process)
  const index = device.bonds.findLastIndex((entry) => entry.to === to)
  if (index < 0)
    throw new IommError('NotBound', `device ${device.name} has no bond to ${given.process ?? given.space}: bind it first`)
  return device.bonds[index]!.bond
}

function forgetBond(device: MachineDevice, bond: Bond): void {
  const index = device.bonds.findLastIndex((entry) => entry.bond === bond)
  if (index >= 0) device.bonds.splice(index, 1)
}

interface Accessed {
  readonly read?: bigint
  readonly write?: bigint
  readonly execute?: bigint
  readonly length?: number
  readonly value?: Data
}

function accessOf(given: Accessed): { access: Access; address: bigint; length: number; data: Uint8Array } {
  const access: Access = given.read !== undefined ? 'read' : given.write !== undefined ? 'write' : 'execute'
  const value: Data = given.value ?? { kind: 'number', value: 0n }
  const length = given.length ?? (access === 'write' ? naturalLength(value) : 8)
  return { access, address: given.read ?? given.write ?? given.execute!, length, data: dataBytes(value, length) }
}

/** Rights of a mapping that a domain gives: the same for both privileges. */
export function bothRights(rights: Rights | undefined): number {
  const { read, write, execute } = rights ?? { read: true, write: true, execute: false }
  return (read ? UR | PR : 0) | (write ? UW | PW : 0) | (execute ? UX | PX : 0)
}

/** Protection of a process's area. */
export function protection(rights: Rights | undefined): number {
  const { read, write, execute } = rights ?? { read: true, write: true, execute: false }
  return (read ? UR : 0) | (write ? UW : 0) | (execute ? UX : 0)
}

/** Adds an area to a process. */
export function* mapArea(machine: Machine, process: Process, area: Area): Op<void> {
  yield* process.mm.mmap(area.address, area.size, protection(area.rights), {
    growsDown: area.growsDown ?? false,
    kernel: area.kernel ?? false,
    huge: area.huge ?? false,
    populate: area.populate ?? false,
    ...(area.shared === undefined ? {} : { shared: machine.shared(area.shared) }),
  })
}

interface MapTarget {
  map(address: bigint, pa: bigint, size: bigint, rights: number): Op<void>
  unmap(address: bigint, size: bigint): Op<bigint>
}

/** What map and unmap change. */
function targetOf(machine: Machine, given: { domain?: string; space?: string; guest?: string; pasid?: number }): MapTarget {
  if (given.guest !== undefined) {
    const guest = machine.guests.get(given.guest)!
    const pasid = given.pasid ?? 0
    return {
      map: (address, ipa, size, rights) => guest.map(pasid, address, ipa, size, rights),
      unmap: (address, size) => guest.unmap(pasid, address, size),
    }
  }
  if (given.domain !== undefined) return machine.domains.get(given.domain)!
  return machine.spaces.get(given.space!) ?? mistake(`private space ${given.space} does not exist: bindPrivate makes it`)
}

/** Does something to each page of [address, address + size). */
function* eachPage(
  machine: Machine,
  given: { process: string; address: bigint; size?: bigint },
  what: string,
  act: (process: Process, address: bigint) => Op<boolean>,
): Op<Outcome> {
  const process = processOf(machine, given.process)
  const page = BigInt(machine.pageSize)
  let count = 0
  for (let at = given.address; at < given.address + (given.size ?? page); at += page) if (yield* act(process, at)) count++
  return done(`${count} ${count === 1 ? 'page' : 'pages'} of ${given.process} ${what}`)
}

const actions: Actions = {
  *attach(machine, given) {
    const device = deviceOf(machine, given.device)
    yield* machine.iommu.attach(machine.domains.get(given.domain)!, device.core)
    device.requester.reset()
    return done(`device ${given.device} is in domain ${given.domain}`)
  },
  *detach(machine, given) {
    yield* machine.iommu.detach(deviceOf(machine, given.device).core)
    return done(`device ${given.device} is in no domain`)
  },
  *bind(machine, given) {
    const device = deviceOf(machine, given.device)
    const process = processOf(machine, given.process)
    const bond = yield* machine.iommu.bind(device.core, process.mm)
    device.bonds.push({ to: process, bond })
    process.pasid = bond.pasid
    return done(`device ${given.device} reaches process ${given.process} with PASID ${bond.pasid}`, { pasid: bond.pasid })
  },
  *unbind(machine, given) {
    const device = deviceOf(machine, given.device)
    const bond = bondOf(machine, device, given)
    yield* bond.unbind()
    forgetBond(device, bond)
    const left = bond.users > 0 && bond.state !== 'unbound' ? `; ${bond.users} to go` : ''
    return done(`device ${given.device} is unbound from ${given.process ?? given.space}${left}`)
  },
  *bindPrivate(machine, given) {
    const device = deviceOf(machine, given.device)
    const known = machine.spaces.get(given.space)
    const bond = yield* machine.iommu.bindPrivate(device.core, known ?? given.space)
    machine.spaces.set(given.space, bond.ioMm)
    device.bonds.push({ to: given.space, bond })
    return done(`device ${given.device} reaches private space ${given.space} with PASID ${bond.pasid}`, { pasid: bond.pasid })
  },
  *map(machine, given) {
    const buffer = given.buffer === undefined ? null : machine.buffers.get(given.buffer)!
    const size = given.size ?? BigInt(buffer!.bytes)
    const pa = buffer === null ? given.physical! : BigInt(buffer.pa)
    yield* targetOf(machine, given).map(given.address, pa, size, bothRights(given.rights))
    return done(`${hex(given.address)} + ${hex(size)} → ${hex(pa)} in ${given.domain ?? given.space ?? `guest ${given.guest}`}`)
  },
  *unmap(machine, given) {
    const bytes = yield* targetOf(machine, given).unmap(given.address, given.size)
    return done(bytes === 0n ? 'nothing was mapped there' : `${sizeText(bytes)} no longer mapped`, { bytes: Number(bytes) })
  },
  *dma(machine, given) {
    const device = deviceOf(machine, given.device)
    const pasid = pasidOf(machine, given)
    const { access, address, length, data } = accessOf(given)
    const result = yield* device.requester.dma({ pasid, address, access, length, data, privileged: given.privileged ?? false })
    const recorded = result.fault !== null && result.fault.record !== null
    const where = result.reached.map(({ pa }) => hex(pa)).join(', ')
    const words =
      access === 'write'
        ? `wrote ${bytesText(data)} to`
        : access === 'read'
          ? `read ${bytesText(result.data)} from`
          : 'fetched from'
    return {
      result: result.ok ? 'ok' : recorded ? 'fault' : 'silent',
      text: result.ok ? `${words} physical ${where}` : `refused: ${result.why}`,
      fault: result.fault,
      pasid,
      data: result.data,
      reached: result.reached,
      response: result.response,
      stale: result.stale,
    }
  },
  *request(machine, given) {
    const { requester } = deviceOf(machine, given.device)
    const pasid = pasidOf(machine, given)
    if (given.stopMarker !== undefined) {
      requester.stopMarker(pasid ?? mistake('a stop marker needs a PASID: give pasid, process or space'))
      return done(`stop marker sent`, { response: requester.lastResponse })
    }
    requester.lastResponse = null
    const pages = given.pages ?? []
    let group = given.group
    for (const [index, address] of pages.entries()) {
      const last = index === pages.length - 1 && (given.last ?? true)
      group = requester.requestPage({
        pasid,
        address,
        access: given.access ?? 'read',
        privileged: given.privileged ?? false,
        last,
        ...(group === undefined ? {} : { group }),
      })
      yield* step('between page requests')
    }
    return done(`${pages.length} page ${pages.length === 1 ? 'request' : 'requests'} sent`)
  },
  *cpu(machine, given) {
    const { mm } = processOf(machine, given.process)
    const { access, address, length, data } = accessOf(given)
    if (access === 'execute' || given.privileged) {
      const result = yield* mm.access(address, access, given.privileged ?? false)
      return {
        result: result === 'ok' ? 'ok' : 'segv',
        text: result === 'ok' ? `may ${access} ${hex(address)}` : 'not allowed: SEGV',
      }
    }
    const result = access === 'write' ? yield* mm.store(address, data) : yield* mm.load(address, length)
    if (result === 'segv') return { result: 'segv', text: 'not allowed: SEGV' }
    const pa = mm.translate(address)
    const reached = pa === null ? [] : [{ iova: address, pa, length }]
    return typeof result === 'string'
      ? done(`wrote ${bytesText(data)}`, { reached })
      : done(`read ${bytesText(result)}`, { data: result, reached })
  },
  *mmap(machine, given) {
    yield* mapArea(machine, processOf(machine, given.process), given)
    return done(`${given.process} has an area at ${hex(given.address)}`)
  },
  *munmap(machine, given) {
    yield* processOf(machine, given.process).mm.munmap(given.address, given.size)
    return done(`${given.process} has nothing at ${hex(given.address)} any more`)
  },
  *mprotect(machine, given) {
    yield* processOf(machine, given.process).mm.mprotect(given.address, given.size, protection(given.rights))
    return done(`rights at ${hex(given.address)} are changed`)
  },
  swapOut: (machine, given) => eachPage(machine, given, 'written to swap', ({ mm }, at) => mm.swapOut(at)),
  migrate: (machine, given) => eachPage(machine, given, 'moved', ({ mm }, at) => mm.migrate(at)),
  *fork(machine, given) {
    const child = yield* processOf(machine, given.process).mm.fork(given.child)
    machine.adoptProcess(given.child, child)
    return done(`process ${given.child} is a child of ${given.process}`)
  },
  *exec(machine, given) {
    const process = processOf(machine, given.process)
    process.mm = yield* process.mm.exec(given.process)
    for (const area of given.areas ?? []) yield* mapArea(machine, process, area)
    return done(`process ${given.process} runs a new program in a new address space`)
  },
  *exit(machine, given) {
    yield* processOf(machine, given.process).mm.exit()
    return done(`process ${given.process} has exited`)
  },
  interrupts(machine, given) {
    machine.interrupts = given === 'on'
    return done(`interrupts are ${given === 'on' ? 'answered' : 'not answered'}`)
  },
  check(machine, given) {
    return look(machine, given)
  },
  say() {
    return done('')
  },
}

const bondsText = (count: number) => (count === 1 ? '1 bond' : `${count} bonds`)

/** What `check` sees. */
function look(machine: Machine, given: StepOf<'check'>['given']): Outcome {
  if (given.device !== undefined) {
    const { core } = deviceOf(machine, given.device)
    const domain = core.domain === null ? null : core.domain.name
    return done(`device ${given.device}: ${domain === null ? 'no domain' : `domain ${domain}`}, ${bondsText(core.bonds.size)}`, {
      domain,
      bonds: core.bonds.size,
    })
  }
  const space = given.process === undefined ? machine.spaces.get(given.space!) : null
  const mm = given.process === undefined ? null : processOf(machine, given.process).mm
  const ioMm = space ?? [...machine.iommu.ioMms.values()].find((candidate) => mm !== null && candidate.mm === mm) ?? null
  const live = ioMm === null || ioMm.state === 'freed' ? null : ioMm
  const bonds = live?.bonds.size ?? 0
  const alive = mm === null ? live !== null : mm.alive
  const name = given.process === undefined ? `private space ${given.space}` : `process ${given.process}`
  const text = `${name}: ${alive ? 'alive' : 'gone'}, ${live === null ? 'no PASID' : `PASID ${live.pasid}`}, ${bondsText(bonds)}`
  return done(text, { pasid: live?.pasid ?? null, bonds, alive })
}

/** Runs one step. What the machine refuses becomes an outcome; only a defect of the machine itself is thrown. */
export function* perform(machine: Machine, given: PlainStep): Op<Outcome> {
  try {
    const action = actions[given.action] as (machine: Machine, given: unknown) => Op<Outcome> | Outcome
    const result = action(machine, given.given)
    return 'result' in result ? result : yield* result
  } catch (error) {
    const code = (error as { code?: unknown }).code
    // IommError, MmError and MapError have codes, and messages for people.
    if (!(error instanceof Error) || typeof code !== 'string') throw error
    return { result: 'error', text: `${code}: ${error.message}`, error: { code, message: error.message } }
  }
}
