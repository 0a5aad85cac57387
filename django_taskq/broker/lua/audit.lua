#!lua flags=allow-oom
-- audit | keys: audit | edges: none
--
-- Writes down that somebody did something.
-- ARGV: lines that are kept, a token of this call, what was done
-- Reply: 1
-- Sending the call again writes nothing twice, as long as its token is among the last 20 lines.

local most, token, deed = ARGV[1], ARGV[2], ARGV[3]
for _, line in ipairs(redis.call('XREVRANGE', audit, '+', '-', 'COUNT', 20)) do
  if line[2][2] == token then return 1 end
end
redis.call('XADD', audit, 'MAXLEN', '~', most, '*', 'token', token, 'deed', deed)
return 1
