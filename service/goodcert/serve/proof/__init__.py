"""What makes a certificate evidence: signed, recorded before it leaves, computed anew by anybody."""
