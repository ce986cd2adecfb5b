import { describe, expect, it } from 'vitest'
import { FAINT, HUES, INK, PAPER, paint, RED, SLATE } from './palette.ts'

/** Red, green and blue from 0 to 1. */
function rgb(hex: string): [number, number, number] {
  const value = Number.parseInt(hex.slice(1), 16)
  return [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255]
}

/** xterm's colour cube: 16 + 36r + 6g + b, levels 0, 95, 135 … 255; from 232 grey. */
function ansiHex(index: number): string {
  const level = (step: number) => (step === 0 ? 0 : 55 + 40 * step)
  const parts =
    index >= 232
      ? [0, 0, 0].map(() => 8 + 10 * (index - 232))
      : [Math.floor((index - 16) / 36), Math.floor((index - 16) / 6) % 6, (index - 16) % 6].map(level)
  return `#${parts.map((part) => part.toString(16).padStart(2, '0')).join('')}`
}

/** WCAG 2.2, contrast ratio. */
function contrast(a: string, b: string): number {
  const luminance = (hex: string) => {
    const [r, g, bl] = rgb(hex).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * bl!
  }
  const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x)
  return (high! + 0.05) / (low! + 0.05)
}

function hue(hex: string): number {
  const [r, g, b] = rgb(hex)
  const max = Math.max(r, g, b)
  const delta = max - Math.min(r, g, b)
  const sixth = max === r ? ((g - b) / delta + 6) % 6 : max === g ? (b - r) / delta + 2 : (r - g) / delta + 4
  return sixth * 60
}

const all = [...HUES, SLATE, RED]

describe('palette', () => {
  it.each(all)('$name: lines are seen on paper, text is read on its tint', ({ line, tint, text }) => {
    expect(contrast(line, PAPER)).toBeGreaterThanOrEqual(3)
    expect(contrast(text, tint)).toBeGreaterThanOrEqual(4.5)
    expect(contrast(INK, tint)).toBeGreaterThanOrEqual(4.5)
    expect(contrast(FAINT, PAPER)).toBeGreaterThanOrEqual(4.5)
  })

  it.each(all)('$name: the terminal colour can be read on black and on white', ({ ansi }) => {
    expect(contrast(ansiHex(ansi), '#000000')).toBeGreaterThanOrEqual(3)
    expect(contrast(ansiHex(ansi), '#ffffff')).toBeGreaterThanOrEqual(3)
  })

  it.each([...HUES, RED])('$name: is the same hue in the terminal and in the drawing', ({ line, ansi }) => {
    const apart = Math.abs(hue(line) - hue(ansiHex(ansi)))
    expect(Math.min(apart, 360 - apart)).toBeLessThanOrEqual(20)
  })

  it('gives no two address spaces the same colour before all are used', () => {
    for (const key of ['line', 'ansi', 'tint'] as const) expect(new Set(HUES.map((colour) => colour[key])).size).toBe(HUES.length)
  })

  it('paints text between a style and its reset, and plain text not at all', () => {
    expect(paint('a', { colour: RED, bold: true })).toBe('\u001b[1;38;5;196ma\u001b[0m')
    expect(paint('a', {})).toBe('a')
  })
})
