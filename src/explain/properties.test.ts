import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { explainFindings } from './explanation.ts'
import { MESSAGES, reportsOf } from './logs.suite.ts'
import { LogReader, parseLog } from './parse.ts'

/** Ways in which people pass logs on. */
const STYLES: readonly ((line: string) => string)[] = [
  (line) => line,
  (line) => `> ${line}`,
  (line) => `>> > ${line}`,
  (line) => `    ${line}`,
  (line) => `[  123.456789] ${line}`,
  (line) => `<3>[  123.456789][ T42] ${line}`,
  (line) => `May 30 17:35:46 localhost kernel: [  278.999480] ${line}`,
  (line) => `2024-02-03T04:05:06.789012+00:00 host kernel: ${line}`,
  (line) => `> | [Thu Oct 22 12:34:56 2020] ${line}`,
  (line) => `\u001b[33m${line}\u001b[0m\r`,
]
const styled = (text: string, style: (line: string) => string) => text.split('\n').map(style).join('\n')

const message = fc.constantFrom(...MESSAGES)
const noise = fc.constantFrom(
  'usb 1-1: new device',
  '',
  '-- ',
  'nvme nvme0: I/O timeout',
  'Hello,',
  '[ 1.0] systemd[1]: Started.',
)
const log = fc.array(fc.oneof(message, noise), { maxLength: 12 }).map((parts) => parts.join('\n'))

/** Pieces of messages in any order, and anything else. */
const fragment = fc.oneof(
  fc.constantFrom(...MESSAGES.flatMap((text) => text.split(/(?<=[ :[\]])/))),
  fc.string({ maxLength: 20 }),
  fc.constantFrom('\n', ' ', '=', '0x', '\u0000', '\ud800', '>', '['),
)
const hostile = fc.array(fragment, { maxLength: 60 }).map((parts) => parts.join(''))

describe('logs', () => {
  it('give the same reports however they are quoted or prefixed', () => {
    fc.assert(
      fc.property(log, fc.constantFrom(...STYLES), (text, style) => {
        expect(reportsOf(styled(text, style))).toEqual(reportsOf(text))
      }),
    )
  })

  it('give a report for each message, in their order', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 8 }), (messages) => {
        const text = messages.map((one) => styled(one, STYLES[4]!)).join('\n')
        expect(reportsOf(text)).toEqual(messages.flatMap((one) => reportsOf(one)))
      }),
    )
  })

  it('give the same reports in whatever pieces they come', () => {
    fc.assert(
      fc.property(log, fc.integer({ min: 1, max: 40 }), (text, size) => {
        const reader = new LogReader()
        for (let at = 0; at < text.length; at += size) reader.push(text.slice(at, at + size))
        expect(reader.end()).toEqual(parseLog(text))
      }),
    )
  })

  it('of any text neither crash nor make explanations that are not there', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const parsed = parseLog(text)
        const told = explainFindings(parsed)
        expect(told).toHaveLength(parsed.findings.length)
        for (const { report } of parsed.findings) {
          if (report.address !== null) expect(report.address).toMatch(/^0x(?:0|[1-9a-f][0-9a-f]{0,15})$/)
          if (report.device !== null)
            expect(report.device).toMatch(/^(?:[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]|sid:0x[0-9a-f]+)$/)
          if (report.pasid !== null) expect(report.pasid).toBeLessThan(1 << 20)
        }
      }),
      { numRuns: 400 },
    )
  })

  it('with more reports than are kept are counted to the end', () => {
    const parsed = parseLog(`${MESSAGES[0]}\n`.repeat(30), 10)
    expect([parsed.findings.length, parsed.dropped]).toEqual([10, 20])
  })
})
