import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import type { FaultReport, FaultSink, PageRequest, ResponseCode } from '../../core/driver.ts'
import { CERROR_ATC_INV_SYNC, CERROR_ILL, CERROR_NONE } from '../../format/smmuv3/commands.ts'
import {
  E_PAGE_REQUEST,
  EVENT_C_BAD_SUBSTREAMID,
  EVENT_E_PAGE_REQUEST,
  EVENT_F_PERMISSION,
  EVENT_F_TRANSLATION,
  F_PERMISSION,
  F_TRANSLATION,
} from '../../format/smmuv3/events.ts'
import { PRI } from '../../format/smmuv3/pri.ts'
import { Bench, PCIE, STALLS } from './driver.suite.ts'
import { decodeEvent } from './faults.ts'

/** Keeps what the driver delivers, in order. */
class Sink implements FaultSink {
  readonly faults: FaultReport[] = []
  readonly requests: PageRequest[] = []
  overflows = 0
  fault(report: FaultReport): void {
    this.faults.push(report)
  }
  pageRequest(request: PageRequest): void {
    this.requests.push(request)
  }
  pageRequestOverflow(): void {
    this.overflows++
  }
}

function handled(bench: Bench): { sink: Sink; sent: string[] } {
  const sink = new Sink()
  return { sink, sent: bench.smmu.sent(bench.driver.handleQueues(sink)) }
}

const translation = (values: Parameters<typeof encode<typeof EVENT_F_TRANSLATION.fields>>[1]) =>
  encode(EVENT_F_TRANSLATION, { type: F_TRANSLATION, CLASS: 2, ...values })

describe('events', () => {
  it('become reports with every word of the record', () => {
    const bench = new Bench()
    bench.device(5)
    const record = translation({ StreamID: 5, SSV: 1, SubstreamID: 3, RnW: 1, InputAddr: 0x1234_5678_9000n })
    bench.smmu.push('EVENTQ', record)
    bench.smmu.push('EVENTQ', encode(EVENT_C_BAD_SUBSTREAMID, { type: 8, StreamID: 5, SubstreamID: 99 }))
    const { sink } = handled(bench)
    expect(sink.faults).toEqual([
      {
        device: 5,
        pasid: 3,
        address: 0x1234_5678_9000n,
        code: 0x10,
        name: 'F_TRANSLATION',
        record: [0x5_0000_3810n, 0x208_0000_0000n, 0x1234_5678_9000n, 0n],
        text: 'F_TRANSLATION: no valid entry for the address, stream 0x5, substream 0x3, read at 0x123456789000',
      },
      expect.objectContaining({ name: 'C_BAD_SUBSTREAMID', device: 5, pasid: 99, address: null }),
    ])
    expect(handled(bench).sink.faults).toEqual([])
  })
  it('of stalled transactions become page requests, each a group of its own', () => {
    const bench = new Bench()
    bench.device(5, STALLS)
    bench.smmu.push(
      'EVENTQ',
      translation({ StreamID: 5, SSV: 1, SubstreamID: 3, Stall: 1, STAG: 42, RnW: 0, InputAddr: 0x9123n }),
    )
    const fetch = { StreamID: 5, Stall: 1, STAG: 43, RnW: 1, InD: 1, PnU: 1, InputAddr: 0xa000n } as const
    bench.smmu.push('EVENTQ', encode(EVENT_F_PERMISSION, { type: F_PERMISSION, ...fetch }))
    const { sink } = handled(bench)
    const group = { last: true, device: 5 }
    expect(sink.faults).toEqual([])
    expect(sink.requests).toEqual([
      {
        ...group,
        pasid: 3,
        address: 0x9123n,
        group: 42,
        stallTag: 42,
        read: false,
        write: true,
        execute: false,
        privileged: false,
      },
      {
        ...group,
        pasid: null,
        address: 0xa000n,
        group: 43,
        stallTag: 43,
        read: false,
        write: false,
        execute: true,
        privileged: true,
      },
    ])
  })
  it('of transactions that stall at stage 2, or of unknown streams, are aborted at once', () => {
    const bench = new Bench()
    bench.device(5, STALLS)
    bench.smmu.push('EVENTQ', translation({ StreamID: 5, Stall: 1, STAG: 42, S2: 1, InputAddr: 0x9000n }))
    bench.smmu.push('EVENTQ', translation({ StreamID: 6, Stall: 1, STAG: 43, InputAddr: 0x9000n }))
    const { sink, sent } = handled(bench)
    expect(sink.requests).toEqual([])
    expect(sink.faults.map(({ device }) => device)).toEqual([5, 6])
    expect(sent).toEqual(['RESUME Ab=1 StreamID=5 STAG=42', 'RESUME Ab=1 StreamID=6 STAG=43'])
  })
  it('that are hints ask for no answer', () => {
    const bench = new Bench()
    bench.device(5)
    bench.smmu.push(
      'EVENTQ',
      encode(EVENT_E_PAGE_REQUEST, { type: E_PAGE_REQUEST, StreamID: 5, uR: 1, Span: 2, InputAddr: 0x8000n }),
    )
    const { sink, sent } = handled(bench)
    expect(sent).toEqual([])
    expect(sink.faults).toMatchObject([{ name: 'E_PAGE_REQUEST', device: 5, address: 0x8000n }])
  })
  it('may be anything at all', () => {
    fc.assert(
      fc.property(fc.uint32Array({ minLength: 8, maxLength: 8 }), (words) => {
        const event = decodeEvent(words)
        expect(event.report.record).toHaveLength(4)
        expect(event.report.code).toBe(words[0]! & 0xff)
      }),
    )
  })
  it('that are lost are reported, and the overflow is acknowledged', () => {
    const bench = new Bench({}, { eventQueueLog2: 2 })
    bench.device(5)
    for (let count = 0; count < 6; count++)
      bench.smmu.push('EVENTQ', translation({ StreamID: 5, InputAddr: BigInt(count) << 12n }))
    const { sink } = handled(bench)
    expect(sink.faults.map(({ name }) => name)).toEqual([...Array(4).fill('F_TRANSLATION'), 'EVENTQ_OVERFLOW'])
    expect(bench.smmu.register('EVENTQ_CONS') >> 31n).toBe(1n)
    // The queue goes on, around its end, as before.
    for (let turn = 0; turn < 5; turn++) {
      for (let count = 0; count < 3; count++) bench.smmu.push('EVENTQ', translation({ StreamID: 5, InputAddr: 0x7000n }))
      expect(handled(bench).sink.faults.map(({ address }) => address)).toEqual([0x7000n, 0x7000n, 0x7000n])
    }
  })
})

describe('page requests', () => {
  const entry = (values: Parameters<typeof encode<typeof PRI.fields>>[1]) => encode(PRI, { StreamID: 5, ...values })
  it('are passed on in order, stop markers too', () => {
    const bench = new Bench()
    bench.device(5)
    bench.smmu.push('PRIQ', entry({ SSV: 1, SubstreamID: 3, R: 1, PRGIndex: 17, Address: 0x8000n }))
    bench.smmu.push('PRIQ', entry({ SSV: 1, SubstreamID: 3, W: 1, R: 1, X: 1, Priv: 1, Last: 1, PRGIndex: 17, Address: 0x9000n }))
    bench.smmu.push('PRIQ', entry({ SSV: 1, SubstreamID: 3, Last: 1, PRGIndex: 18 }))
    const { sink, sent } = handled(bench)
    const same = { device: 5, pasid: 3, stallTag: null }
    expect(sink.requests).toEqual([
      {
        ...{ ...same, group: 17, last: false, address: 0x8000n },
        ...{ read: true, write: false, execute: false, privileged: false },
      },
      { ...same, group: 17, last: true, address: 0x9000n, read: true, write: true, execute: true, privileged: true },
      { ...same, group: 18, last: true, address: 0n, read: false, write: false, execute: false, privileged: false },
    ])
    expect(sent).toEqual([])
  })
  it('of unknown streams fail, but a stop marker gets no response', () => {
    const bench = new Bench()
    bench.smmu.push('PRIQ', entry({ R: 1, PRGIndex: 17 }))
    bench.smmu.push('PRIQ', entry({ R: 1, Last: 1, PRGIndex: 17 }))
    bench.smmu.push('PRIQ', entry({ SSV: 1, Last: 1, PRGIndex: 17 }))
    const { sink, sent } = handled(bench)
    expect(sink.requests).toEqual([])
    expect(sink.faults).toHaveLength(3)
    expect(sent).toEqual(['PRI_RESP StreamID=5 PRGIndex=17'])
  })
  it('that were lost are told to the core, which drops what is incomplete', () => {
    const bench = new Bench({}, { priQueueLog2: 1 })
    bench.device(5)
    for (let count = 0; count < 3; count++) bench.smmu.push('PRIQ', entry({ R: 1, PRGIndex: count }))
    const { sink } = handled(bench)
    expect([sink.requests.length, sink.overflows]).toEqual([2, 1])
    expect(bench.smmu.register('PRIQ_CONS') >> 31n).toBe(1n)
    expect(handled(bench).sink.overflows).toBe(0)
  })
})

describe('page responses', () => {
  const answer = (capabilities: typeof PCIE, stallTag: number | null, code: ResponseCode) => {
    const bench = new Bench()
    const device = bench.device(5, capabilities)
    return bench.smmu.sent(bench.driver.pageResponse({ device, pasid: 3, group: 17, stallTag, code }))
  }
  it('carry the PASID where the device needs it, and no sync follows', () => {
    expect(answer(PCIE, null, 'success')).toEqual(['PRI_RESP SSV=1 SubstreamID=3 StreamID=5 PRGIndex=17 Resp=2'])
    expect(answer({ ...PCIE, responseNeedsPasid: false }, null, 'success')).toEqual(['PRI_RESP StreamID=5 PRGIndex=17 Resp=2'])
    expect(answer(PCIE, null, 'invalid')).toEqual(['PRI_RESP SSV=1 SubstreamID=3 StreamID=5 PRGIndex=17 Resp=1'])
    expect(answer(PCIE, null, 'failure')).toEqual(['PRI_RESP SSV=1 SubstreamID=3 StreamID=5 PRGIndex=17'])
  })
  it('let a stalled transaction try again, or abort it', () => {
    expect(answer(STALLS, 42, 'success')).toEqual(['RESUME Ac=1 StreamID=5 STAG=42'])
    expect(answer(STALLS, 42, 'invalid')).toEqual(['RESUME Ab=1 StreamID=5 STAG=42'])
    expect(answer(STALLS, 42, 'failure')).toEqual(['RESUME Ab=1 StreamID=5 STAG=42'])
  })
})

describe('errors of the hardware', () => {
  it('are reported and acknowledged', () => {
    const bench = new Bench()
    bench.smmu.raise(2)
    bench.smmu.raise(8)
    const { sink } = handled(bench)
    expect(sink.faults.map(({ name, text }) => [name, text])).toEqual([
      ['GERROR.EVENTQ_ABT_ERR', 'GERROR.EVENTQ_ABT_ERR: event queue write aborted'],
      ['GERROR.SFM_ERR', 'GERROR.SFM_ERR: service failure mode'],
    ])
    expect(bench.smmu.register('GERRORN')).toBe(bench.smmu.register('GERROR'))
    expect(handled(bench).sink.faults).toEqual([])
  })
  it('skip a command that the SMMU refuses, and report it with its words', () => {
    const bench = new Bench()
    const domain = bench.domain('A', 'dma', bench.device(1))
    bench.map(domain, 0x1000n, 0x5000_0000n, 0x1000n)
    bench.smmu.fail = (text) => (text.startsWith('TLBI') ? CERROR_ILL : CERROR_NONE)
    expect(bench.unmap(domain, 0x1000n, 0x1000n)).toEqual(['SYNC', 'SYNC', 'ATC_INV StreamID=1 Address=0x1000', 'SYNC'])
    bench.smmu.fail = () => CERROR_NONE
    expect(handled(bench).sink.faults).toMatchObject([
      {
        name: 'CERROR_ILL',
        code: CERROR_ILL,
        record: [0x1_0000_0000_0012n, 0x1000n],
        text: expect.stringContaining('CMD_TLBI_NH_VA'),
      },
    ])
  })
  it('go on after an ATC invalidation that timed out, and give up when it always does', () => {
    const bench = new Bench()
    const device = bench.device(1)
    const domain = bench.domain('A', 'dma', device)
    let times = 0
    let last = ''
    bench.smmu.fail = (text) => {
      const timesOut = text === 'SYNC' && last.startsWith('ATC_INV') && times++ < 2
      if (!timesOut) last = text
      return timesOut ? CERROR_ATC_INV_SYNC : CERROR_NONE
    }
    expect(bench.detach(domain, device).at(-1)).toBe('SYNC')
    expect(handled(bench).sink.faults.map(({ name }) => name)).toEqual(['CERROR_ATC_INV_SYNC', 'CERROR_ATC_INV_SYNC'])
    bench.smmu.fail = (text) => (text === 'SYNC' ? CERROR_ATC_INV_SYNC : CERROR_NONE)
    expect(bench.failure(() => bench.driver.attachDevice(domain, device))).toMatchObject({
      code: 'Hardware',
      message: expect.stringContaining('reset the device'),
    })
  })
})
