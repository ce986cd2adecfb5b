/**
 * Device programs: a device's DMA as a coroutine that issues transactions, asks for translations and pages, caches, waits for answers,
 * and really reads and writes the memory behind. What it does is what PCIe (ATS, PRI, PASID) or a stalling bus lets a device do.
 */
import { hex } from '../base/hex.ts'
import { type Op, step, waitFor } from '../base/op.ts'
import { type Access, type Fault, neededRight, type Outcome, type Transaction } from '../base/types.ts'
import type { DeviceCapabilities } from '../core/driver.ts'
import type { DeviceMessage, IommuModel } from '../model/iommu.ts'
import { Atc } from './atc.ts'
import type { MachineMemory } from './memory.ts'

/** What a device does, for narration. */
export type DeviceLog = (device: Requester, text: string) => void

export interface DmaRequest {
  /** Null: a transaction without PASID. */
  readonly pasid: number | null
  readonly address: bigint
  readonly access: Access
  readonly privileged?: boolean
  readonly length: number
  /** Bytes to write. */
  readonly data?: Uint8Array
}

/** A cache answered what the tables no longer say. */
export interface StaleHit {
  readonly cache: 'atc' | 'iotlb' | 'config'
  readonly device: Requester
  readonly pasid: number | null
  readonly iova: bigint
  /** Where it led; null: a refusal that the tables no longer give. */
  readonly reached: bigint | null
  /** What the tables say. */
  readonly tables: Outcome
  /** The memory was free, or belongs to somebody else by now. */
  readonly freed: boolean
}

/** A piece of a DMA that got through. */
export interface Reached {
  readonly iova: bigint
  readonly pa: bigint
  readonly length: number
}

export interface DmaResult {
  readonly ok: boolean
  readonly reached: readonly Reached[]
  /** What was read. */
  readonly data: Uint8Array
  /** Why the hardware refused; null when it did not, or only the device knows. */
  readonly fault: Fault | null
  /** Answer to the last page request. */
  readonly response: 'success' | 'invalid' | 'failure' | null
  readonly stale: readonly StaleHit[]
  /** In words, when it did not get through. */
  readonly why: string
}

/** Times that a device asks again for the same page before it gives up. */
const MOST_RETRIES = 32
const PAGE = 4096

interface Waiting {
  readonly pasid: number | null
  answer: 'success' | 'invalid' | 'failure' | null
}

type PieceEnd = { pa: bigint } | { refused: string; fault: Fault | null }

/** What devices did, since the machine was made. */
export interface DeviceCounts {
  pageRequests: number
  stalls: number
}

/** What a device needs of the machine around it. */
export interface DeviceSurroundings {
  readonly model: IommuModel
  readonly memory: MachineMemory
  /** Whether somebody may just be between changing a table and invalidating what is cached of it. */
  readonly racing: () => boolean
  /** Compare what caches answer with what the tables say. */
  readonly checkStale: boolean
  /** Of all devices together. */
  readonly counts: DeviceCounts
  readonly onStale: (hit: StaleHit) => void
  readonly log: DeviceLog | null
}

export class Requester {
  readonly id: number
  readonly name: string
  readonly capabilities: DeviceCapabilities
  readonly atc: Atc
  /** A failure response switches page requests off (PCIe 10.4.2.2), until the device is set up again. */
  requestsOff = false
  lastResponse: 'success' | 'invalid' | 'failure' | null = null
  readonly #around: DeviceSurroundings
  /** Groups that wait for their response, by page request group index. */
  readonly #groups = new Map<number, Waiting>()
  #nextGroup = 0
  /** Stalled transactions, by tag; null: no answer yet. */
  readonly #stalled = new Map<number, 'retry' | 'abort' | 'terminate' | null>()
  /** DMA under way, by PASID. */
  readonly #active = new Map<number | null, number>()
  /** PASIDs that the device is told to stop just now. */
  readonly #stopping = new Set<number>()
  /** PASIDs with which it sent page requests since it last stopped them. */
  readonly #asked = new Set<number>()

  constructor(
    given: { id: number; name: string; capabilities: DeviceCapabilities; atcEntries?: number },
    around: DeviceSurroundings,
  ) {
    this.id = given.id
    this.name = given.name
    this.capabilities = given.capabilities
    this.atc = new Atc(given.atcEntries ?? 64)
    this.#around = around
  }

  /** A DMA from its first byte to its last, page by page. Stops at the first that does not get through. */
  *dma(request: DmaRequest): Op<DmaResult> {
    const { pasid, address, access, length } = request
    const reached: Reached[] = []
    const stale: StaleHit[] = []
    const data = new Uint8Array(access === 'write' ? 0 : length)
    const end = (ok: boolean, why: string, fault: Fault | null): DmaResult => ({
      ok,
      reached,
      data,
      fault,
      response: this.lastResponse,
      stale,
      why,
    })
    this.lastResponse = null
    if (pasid !== null && this.#stopping.has(pasid)) return end(false, `the device was told to stop PASID ${pasid}`, null)
    this.#active.set(pasid, (this.#active.get(pasid) ?? 0) + 1)
    try {
      for (let done = 0; done < length; ) {
        const iova = BigInt.asUintN(64, address + BigInt(done))
        const piece = Math.min(length - done, PAGE - Number(iova % BigInt(PAGE)))
        yield* step(`${this.name} is about to access ${hex(iova)}`)
        const result = yield* this.#piece(request, iova, stale, (pa) => {
          if (!this.#answers(pa, piece)) return false
          if (access === 'write') {
            const bytes = new Uint8Array(piece)
            bytes.set((request.data ?? new Uint8Array()).subarray(done, done + piece))
            this.#around.memory.write(Number(pa), bytes)
          } else data.set(this.#around.memory.read(Number(pa), piece), done)
          return true
        })
        if ('refused' in result) return end(false, result.refused, result.fault)
        reached.push({ iova, pa: result.pa, length: piece })
        done += piece
      }
      return end(true, '', null)
    } finally {
      const left = this.#active.get(pasid)! - 1
      if (left === 0) this.#active.delete(pasid)
      else this.#active.set(pasid, left)
    }
  }

  /** Sends one page request; the answer is awaited by `dma` only. @returns its group index. */
  requestPage(given: {
    pasid: number | null
    address: bigint
    access: Access
    privileged?: boolean
    last?: boolean
    group?: number
  }): number {
    const group = given.group ?? this.#freeGroup()
    if (!this.#groups.has(group)) this.#groups.set(group, { pasid: given.pasid, answer: null })
    this.#around.counts.pageRequests++
    if (given.pasid !== null) this.#asked.add(given.pasid)
    const last = given.last ?? true
    this.#say(
      () =>
        `requests the page at ${hex(given.address)} to ${given.access}${pasidText(given.pasid)}: group ${group}${last ? ', last' : ''}`,
    )
    this.#around.model.pageRequest({
      device: this.id,
      pasid: given.pasid,
      address: given.address & ~0xfffn,
      group,
      last,
      read: given.access !== 'write',
      write: given.access === 'write',
      execute: given.access === 'execute',
      privileged: given.privileged ?? false,
    })
    return group
  }

  /** Tells that nothing more comes for this PASID (PCIe 10.4.1.2.1): a request with neither read nor write. */
  stopMarker(pasid: number): void {
    this.#say(() => `sends a stop marker for PASID ${pasid}`)
    this.#asked.delete(pasid)
    this.#around.model.pageRequest({
      device: this.id,
      pasid,
      address: 0n,
      group: 0,
      last: true,
      read: false,
      write: false,
      execute: false,
      privileged: false,
    })
  }

  /** What the device's driver does before the last unbind: DMA of this PASID ends, and nothing follows. */
  *stop(pasid: number): Op<void> {
    this.#stopping.add(pasid)
    try {
      yield* waitFor(`DMA of ${this.name} with PASID ${pasid}`, () => !this.#active.has(pasid))
      if (this.capabilities.pri && this.#asked.has(pasid)) this.stopMarker(pasid)
    } finally {
      this.#stopping.delete(pasid)
    }
  }

  /** A message of the IOMMU arrives. */
  receive(message: DeviceMessage): void {
    if (message.kind === 'invalidate') {
      const gone = this.atc.invalidate(message.pasid, message.address, message.bytes)
      this.#say(
        () =>
          `empties its ATC${rangeText(message.address, message.bytes)}${message.pasid === null ? ', all PASIDs' : pasidText(message.pasid)}: ${gone === 1 ? '1 entry' : `${gone} entries`}`,
      )
      this.#around.model.invalidationComplete(message.tag)
    } else if (message.kind === 'page-response') this.#answered(message)
    else {
      this.#say(() => `hears about stall ${message.stallTag}: ${message.action}`)
      if (this.#stalled.has(message.stallTag)) this.#stalled.set(message.stallTag, message.action)
    }
  }

  /** Set up anew: page requests work again. */
  reset(): void {
    this.requestsOff = false
  }

  #answered(message: Extract<DeviceMessage, { kind: 'page-response' }>): void {
    const group = this.#groups.get(message.group)
    const wants = this.capabilities.responseNeedsPasid && group !== undefined && group.pasid !== null
    if (group === undefined || (wants && message.pasid !== group.pasid)) {
      this.#say(() => `ignores a response to group ${message.group}${pasidText(message.pasid)}: no such request is open`)
      return
    }
    this.#groups.delete(message.group)
    group.answer = message.code
    this.lastResponse = message.code
    if (message.code === 'failure') this.requestsOff = true
    this.#say(() => `gets the response to group ${message.group}: ${message.code}`)
  }

  *#piece(request: DmaRequest, iova: bigint, stale: StaleHit[], use: (pa: bigint) => boolean): Op<PieceEnd> {
    const { capabilities } = this
    for (let attempt = 0; attempt < MOST_RETRIES; attempt++) {
      const result = capabilities.ats
        ? yield* this.#withAts(request, iova, stale, use)
        : yield* this.#direct(request, iova, stale, use)
      if (result !== null) return result
      yield* step(`${this.name} tries again`)
    }
    return { refused: `gave up after ${MOST_RETRIES} attempts`, fault: null }
  }

  /** An ordinary transaction, which the IOMMU translates, and may hold (stall). Null: try again. */
  *#direct(request: DmaRequest, iova: bigint, stale: StaleHit[], use: (pa: bigint) => boolean): Op<PieceEnd | null> {
    const { model } = this.#around
    const transaction = this.#transaction(request, iova)
    const outcome = model.translate(transaction)
    if (outcome.ok) {
      this.#compare(request, iova, outcome.pa, outcome.cached ? 'iotlb' : 'config', -1, stale)
      return this.#reach(outcome.pa, use)
    }
    this.#compareRefusal(request, transaction, outcome, stale)
    if (outcome.response !== 'stalled' || outcome.stallTag === undefined) return { refused: faultText(outcome), fault: outcome }
    const tag = outcome.stallTag
    this.#around.counts.stalls++
    this.#say(() => `stalls at ${hex(iova)}${pasidText(request.pasid)}: ${outcome.name}, tag ${tag}`)
    this.#stalled.set(tag, null)
    yield* waitFor(`resume of stall ${tag} of ${this.name}`, () => this.#stalled.get(tag) !== null)
    const action = this.#stalled.get(tag)
    this.#stalled.delete(tag)
    return action === 'retry' ? null : { refused: `the stalled transaction was ended (${action})`, fault: outcome }
  }

  /** From the ATC, else by a translation request, else by a page request. Null: try again. */
  *#withAts(request: DmaRequest, iova: bigint, stale: StaleHit[], use: (pa: bigint) => boolean): Op<PieceEnd | null> {
    const { model, memory } = this.#around
    const { pasid } = request
    const privileged = request.privileged ?? false
    const need = neededRight(request.access, privileged)
    const entry = this.atc.find(pasid, privileged, iova)
    if (entry !== null && (entry.rights & need) !== 0) {
      const pa = entry.pa + (iova - entry.iova)
      this.#compare(request, iova, pa, 'atc', entry.generation, stale)
      // Translated requests have no PASID, unless a device is told otherwise (PCI Express, "Translated Requests with PASID Enable").
      const outcome = model.translate({ ...this.#transaction({ ...request, pasid: null }, pa), kind: 'translated' })
      if (outcome.ok) return this.#reach(outcome.pa, use)
      return { refused: `${faultText(outcome)} (a translated transaction)`, fault: outcome }
    }
    const asked: Transaction = { ...this.#transaction(request, iova), kind: 'ats-request' }
    const answer = model.translate(asked)
    if (answer.ok && answer.rights !== 0) {
      const mask = (1n << BigInt(answer.sizeLog2)) - 1n
      this.#say(() => `asks for a translation of ${hex(iova)}${pasidText(pasid)}: ${hex(answer.pa)}`)
      this.atc.insert({
        pasid,
        privileged,
        iova: iova & ~mask,
        sizeLog2: answer.sizeLog2,
        pa: answer.pa & ~mask,
        rights: answer.rights,
        generation: memory.generation(Number(answer.pa)),
      })
      if ((answer.rights & need) !== 0) return null
    }
    this.#compareRefusal(request, asked, answer, stale)
    if (!answer.ok && answer.response !== 'no-access') {
      this.#say(() => `asks for a translation of ${hex(iova)}${pasidText(pasid)}: ${answer.response}`)
      return { refused: faultText(answer), fault: answer }
    }
    this.#say(() => `asks for a translation of ${hex(iova)}${pasidText(pasid)}: no access to ${request.access}`)
    const fault = answer.ok ? null : answer
    // What a device does without PASID uses memory that its driver mapped beforehand: there is nobody to ask for a page.
    if (!this.capabilities.pri || pasid === null)
      return { refused: pasid === null ? 'no access' : 'no access, and the device has no page requests', fault }
    if (this.requestsOff) return { refused: 'page requests are off since a failure response', fault }
    const group = this.requestPage({ pasid, address: iova, access: request.access, privileged })
    const waiting = this.#groups.get(group)!
    yield* waitFor(`response to page request group ${group} of ${this.name}`, () => waiting.answer !== null)
    return waiting.answer === 'success' ? null : { refused: `the page request was answered ${waiting.answer}`, fault }
  }

  #reach(pa: bigint, use: (pa: bigint) => boolean): PieceEnd {
    return use(pa) ? { pa } : { refused: `nothing answers at physical address ${hex(pa)}`, fault: null }
  }

  /** Compares an address that a cache may have given with what the tables say now. */
  #compare(request: DmaRequest, iova: bigint, pa: bigint, cache: StaleHit['cache'], generation: number, stale: StaleHit[]): void {
    if (!this.#around.checkStale) return
    const tables = this.#around.model.explain(this.#transaction(request, iova)).outcome
    if (tables.ok && tables.pa === pa) return
    const { memory } = this.#around
    const freed = memory.isFree(Number(pa)) || (generation >= 0 && memory.generation(Number(pa)) !== generation)
    // Between a change of the tables and the end of its invalidation an old answer is allowed, as long as the memory is still there.
    if (!freed && this.#around.racing()) return
    this.#stale({ cache, device: this, pasid: request.pasid, iova, reached: pa, tables, freed }, stale)
  }

  /** A refusal that the tables no longer give, or give for another reason: a cache kept the old state. */
  #compareRefusal(request: DmaRequest, transaction: Transaction, outcome: Outcome, stale: StaleHit[]): void {
    if (!this.#around.checkStale || this.#around.racing()) return
    const tables = this.#around.model.explain(transaction).outcome
    const need = neededRight(request.access, request.privileged ?? false)
    const same = tables.ok
      ? outcome.ok && (tables.rights & need) === (outcome.rights & need)
      : !outcome.ok && tables.code === outcome.code
    if (same) return
    const { pasid } = request
    this.#stale({ cache: 'config', device: this, pasid, iova: transaction.iova, reached: null, tables, freed: false }, stale)
  }

  #stale(hit: StaleHit, stale: StaleHit[]): void {
    stale.push(hit)
    this.#around.onStale(hit)
  }

  #transaction(request: DmaRequest, iova: bigint): Transaction {
    const { pasid, access, privileged = false } = request
    return { device: this.id, ...(pasid === null ? {} : { pasid }), iova, access, privileged }
  }

  #answers(pa: bigint, length: number): boolean {
    const first = Number(pa)
    return this.#around.memory.answers(first) && this.#around.memory.answers(first + length - 1)
  }

  #freeGroup(): number {
    if (this.#groups.size > 511) throw new Error(`${this.name} has 512 page request groups without an answer: no index is free`)
    while (this.#groups.has(this.#nextGroup)) this.#nextGroup = (this.#nextGroup + 1) & 511
    const group = this.#nextGroup
    this.#nextGroup = (group + 1) & 511
    return group
  }

  #say(text: () => string): void {
    this.#around.log?.(this, text())
  }
}

/** `F_TRANSLATION (…)`. */
export function faultText(fault: Fault): string {
  return `${fault.name}: ${fault.why}`
}

export function pasidText(pasid: number | null): string {
  return pasid === null ? '' : `, PASID ${pasid}`
}

function rangeText(address: bigint, bytes: bigint | null): string {
  return bytes === null ? '' : ` of ${hex(address)}..${hex(address + bytes)}`
}
