/** What happened, in words: steps as titles, and the machine's events as lines. */
import { hex, size } from '../base/hex.ts'
import { rightsText } from '../base/types.ts'
import type { CoreEvent } from '../core/events.ts'
import type { IoMm } from '../core/io-mm.ts'
import type { MmEvent } from '../mm/events.ts'
import { pasidText, type StaleHit } from './device.ts'
import type { Rights } from './language/shape.ts'
import type { ActionName, Step, StepOf } from './language/steps.ts'
import type { MachineEvent } from './machine.ts'

/** A line of narration, and who it is about. */
export interface Line {
  readonly who: 'os' | 'driver' | 'device' | 'cpu' | 'watch'
  readonly text: string
}

type Titles = { readonly [K in ActionName]: (given: StepOf<K>['given']) => string }

const rightsWord = (rights: Rights | undefined) =>
  rights === undefined ? 'rw-' : `${rights.read ? 'r' : '-'}${rights.write ? 'w' : '-'}${rights.execute ? 'x' : '-'}`

function access(given: { read?: bigint; write?: bigint; execute?: bigint; length?: number; privileged?: boolean }): string {
  const word = given.read !== undefined ? 'read' : given.write !== undefined ? 'write' : 'execute'
  const length = given.length === undefined ? '' : `${given.length} bytes at `
  return `${given.privileged ? 'privileged ' : ''}${word} ${length}${hex(given.read ?? given.write ?? given.execute!)}`
}

function target(given: { process?: string; space?: string; pasid?: number }): string {
  if (given.process !== undefined) return `, PASID of process ${given.process}`
  if (given.space !== undefined) return `, PASID of private space ${given.space}`
  return given.pasid === undefined ? ', no PASID' : `, PASID ${given.pasid}`
}

function whose(given: { domain?: string; space?: string; guest?: string; pasid?: number }): string {
  if (given.guest !== undefined) return `guest ${given.guest}${given.pasid === undefined ? '' : `, PASID ${given.pasid}`}`
  return given.domain === undefined ? `private space ${given.space}` : `domain ${given.domain}`
}
const range = (given: { address: bigint; size?: bigint }) =>
  `${hex(given.address)}${given.size === undefined ? '' : ` + ${size(given.size)}`}`

const titles: Titles = {
  attach: (given) => `attach device ${given.device} to domain ${given.domain}`,
  detach: (given) => `detach device ${given.device}`,
  bind: (given) => `bind device ${given.device} to process ${given.process}`,
  unbind: (given) =>
    `unbind device ${given.device} from ${given.process === undefined ? `private space ${given.space}` : `process ${given.process}`}`,
  bindPrivate: (given) => `bind device ${given.device} to private space ${given.space}`,
  map: (given) =>
    `map ${given.buffer === undefined ? hex(given.physical!) : `buffer ${given.buffer}`} at ${range(given)} in ${whose(given)}, ${rightsWord(given.rights)}`,
  unmap: (given) => `unmap ${range(given)} in ${whose(given)}`,
  dma: (given) => `dma of device ${given.device}${target(given)}: ${access(given)}`,
  request: (given) =>
    given.stopMarker === undefined
      ? `page requests of device ${given.device}${target(given)}: ${(given.pages ?? []).map(hex).join(', ')}`
      : `stop marker of device ${given.device}${target(given)}`,
  cpu: (given) => `process ${given.process}: ${access(given)}`,
  mmap: (given) => `mmap in process ${given.process}: ${range(given)}, ${rightsWord(given.rights)}`,
  munmap: (given) => `munmap in process ${given.process}: ${range(given)}`,
  mprotect: (given) => `mprotect in process ${given.process}: ${range(given)}, ${rightsWord(given.rights)}`,
  swapOut: (given) => `swap out ${range(given)} of process ${given.process}`,
  migrate: (given) => `migrate ${range(given)} of process ${given.process}`,
  fork: (given) => `fork process ${given.process}: child ${given.child}`,
  exec: (given) => `exec in process ${given.process}`,
  exit: (given) => `exit of process ${given.process}`,
  interrupts: (given) => `interrupts ${given}`,
  check: (given) =>
    given.device !== undefined
      ? `check device ${given.device}`
      : given.process !== undefined
        ? `check process ${given.process}`
        : `check private space ${given.space}`,
  say: (given) => given,
}

/** A step in a line: `bind device 0 to process X`. */
export function titleOf(step: Step): string {
  if (step.action === 'interleave')
    return `at the same time (seed ${step.given.seed}): ${step.given.steps.map((inner) => titleOf(inner)).join(' | ')}`
  const title = titles[step.action] as (given: unknown) => string
  return title(step.given)
}

const ioMmName = (ioMm: IoMm) => (ioMm.mm === null ? `private space ${ioMm.name}` : `process ${ioMm.name}`)
const plural = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`
const idText = (id: number | null) => (id === null ? 'an unknown device' : `device id ${hex(id)}`)

/** An event of the core in words; null for what the step's own result says already. */
export function coreText(event: CoreEvent): string | null {
  switch (event.kind) {
    case 'device-added':
    case 'domain-created':
    case 'mapped':
    case 'unmapped':
      return null
    case 'domain-freed':
      return `domain ${event.domain.name} is freed`
    case 'attached':
      return `device ${event.device.name}: device table entry → domain ${event.domain.name}${event.from === null ? '' : ` (was ${event.from.name})`}`
    case 'detached':
      return `device ${event.device.name}: device table entry blocks (was domain ${event.domain.name})`
    case 'rolled-back':
      return `device ${event.device.name} goes back to ${event.to === null ? 'no domain' : `domain ${event.to.name}`}: ${event.why}`
    case 'pasid-allocated':
      return `PASID ${event.ioMm.pasid} is given to ${ioMmName(event.ioMm)}`
    case 'pasid-freed':
      return `PASID ${event.ioMm.pasid} is free again`
    case 'entry-written':
      return `PASID table of domain ${event.domain.name}: entry ${event.ioMm.pasid} → ${ioMmName(event.ioMm)}`
    case 'entry-quieted':
      return `PASID table of domain ${event.domain.name}: entry ${event.ioMm.pasid} stays, and walks nothing`
    case 'entry-cleared':
      return `PASID table of domain ${event.domain.name}: entry ${event.ioMm.pasid} is cleared`
    case 'bound':
      return event.users === 1 ? null : `the bond was there: ${event.users} users`
    case 'unbound':
      return event.users === 0 ? null : `the bond stays: ${plural(event.users, 'user')}`
    case 'unreachable':
      return `${ioMmName(event.bond.ioMm)} ${hex(event.start)}..${hex(event.end)}: devices cannot reach it, ${event.why}`
    case 'exited':
      return `the bond of device ${event.bond.device.name} outlives ${ioMmName(event.bond.ioMm)}: PASID ${event.bond.pasid} stays taken`
    case 'hook-failed':
      return `device ${event.bond.device.name}: ${event.hook} failed: ${String(event.error)}`
    case 'invalidated':
      return `${ioMmName(event.ioMm)} changed ${event.start === null ? 'everything' : `${hex(event.start)}..${hex(event.end ?? 0n)}`}: PASID ${event.ioMm.pasid} is invalidated`
    case 'fault': {
      const at = event.report.address === null ? '' : ` at ${hex(event.report.address)}`
      const where = event.device === null ? idText(event.report.device) : `device ${event.device.name}`
      return `event ${event.report.name} of ${where}${pasidText(event.report.pasid)}${at}${event.logged ? ', logged' : ''}${event.note === null ? '' : `: ${event.note}`}`
    }
    case 'page-request':
      return null
    case 'page-handled': {
      const { request } = event
      const wants = request.write ? 'write' : request.execute ? 'execute' : 'read'
      return `page ${hex(request.address)}${pasidText(request.pasid)} to ${wants}: ${event.code}${event.why === null ? '' : ` (${event.why})`}`
    }
    case 'stop-marker':
      return `stop marker of ${event.device === null ? idText(event.request.device) : `device ${event.device.name}`}${pasidText(event.request.pasid)}: no answer`
    case 'page-response':
      return `${event.stallTag === null ? `group ${event.group}` : `stall ${event.stallTag}`} of ${event.device === null ? 'an unknown device' : `device ${event.device.name}`} is answered: ${event.code}`
    case 'partials-dropped':
      return `${plural(event.requests, 'page request')} of unfinished groups dropped: ${event.why}`
  }
}

/** An event of a process in words; null for what the step's own result says already. */
export function mmText(event: MmEvent): string | null {
  const at = 'address' in event ? hex(event.address) : ''
  switch (event.kind) {
    case 'created':
    case 'forked':
    case 'exited':
      return null
    case 'paged-in': {
      const how = {
        zeroed: 'a zeroed page',
        'from swap': 'back from swap',
        shared: 'shared memory',
        unparked: 'accessible again',
      }
      return `process ${event.mm.name} gets ${size(event.size)} at ${at}: ${how[event.how]}, physical ${hex(event.pa)}`
    }
    case 'copied':
      return event.from === event.to
        ? `process ${event.mm.name} may write ${at}: nobody else uses the page`
        : `process ${event.mm.name} gets a copy of ${at}: physical ${hex(event.from)} → ${hex(event.to)}`
    case 'swapped-out':
      return `process ${event.mm.name}: ${at} is written to swap`
    case 'migrated':
      return `process ${event.mm.name}: ${at} moves, physical ${hex(event.from)} → ${hex(event.to)}`
    case 'stack-grown':
      return `process ${event.mm.name}: its stack grows down to ${hex(event.start)}`
    case 'refused':
      return `process ${event.mm.name} may not ${event.access} ${at}: ${event.why}`
  }
}

/** A stale answer, in words. */
export function staleText(hit: StaleHit): string {
  const from =
    hit.cache === 'atc' ? `the ATC of device ${hit.device.name}` : hit.cache === 'iotlb' ? 'the IOTLB' : 'a configuration cache'
  const says = hit.tables.ok
    ? `the tables say ${hex(hit.tables.pa)}, ${rightsText(hit.tables.rights)}`
    : `the tables refuse (${hit.tables.name})`
  if (hit.reached === null) return `STALE: ${from} refuses ${hex(hit.iova)}${pasidText(hit.pasid)}; ${says}`
  return `STALE: ${from} leads ${hex(hit.iova)}${pasidText(hit.pasid)} to ${hex(hit.reached)}${hit.freed ? ', which was freed' : ''}; ${says}`
}

/** Most commands that one line names. */
const MOST_COMMANDS = 12

/** Most lines of one step. */
const MOST_LINES = 200

/** The events of a step as lines; commands in a row are one line. */
export function narrate(events: readonly MachineEvent[]): Line[] {
  const lines: Line[] = []
  let commands: string[] = []
  let more = 0
  let untold = 0
  const flush = () => {
    if (commands.length > 0) lines.push({ who: 'driver', text: `${commands.join(' · ')}${more > 0 ? ` · … ${more} more` : ''}` })
    commands = []
    more = 0
  }
  for (const event of events) {
    if (event.source === 'command') {
      const { name, text } = event.command
      if (commands.length >= MOST_COMMANDS) more++
      else commands.push(`${name}${text === '' ? '' : ` ${text}`}${event.lost ? ' (LOST)' : ''}`)
      continue
    }
    if (lines.length >= MOST_LINES) {
      untold++
      continue
    }
    const line = lineOf(event)
    if (line === null) continue
    flush()
    lines.push(line)
  }
  flush()
  if (untold > 0) lines.push({ who: 'watch', text: `… and ${untold} more events` })
  return lines
}

function lineOf(event: Exclude<MachineEvent, { source: 'command' }>): Line | null {
  if (event.source === 'device') return { who: 'device', text: `device ${event.device.name} ${event.text}` }
  if (event.source === 'stale') return { who: 'watch', text: staleText(event.hit) }
  if (event.source === 'mm') {
    const text = mmText(event.event)
    return text === null ? null : { who: 'cpu', text }
  }
  const text = coreText(event.event)
  return text === null ? null : { who: 'os', text }
}
